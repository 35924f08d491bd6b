"""Direct machine-learned forces for i-PI, without paying for them with wrong physics.

Four wings, each importing only from those below it::

    cli                   commands: parse, call one function, print
    analysis              what a trajectory says
    serve                 the i-PI side: wire format, sockets, in-process plugin, inputs, runs
    forces                structures in, energies and forces out
"""

from importlib.metadata import version

__version__ = version("ipi-darkforces")
