"""Direct machine-learned forces for i-PI, without paying for them with wrong physics.

Five wings, each importing only from those below it::

    cli                   commands: parse, call one function, print
    campaign              many simulations, and what they say together
    analysis              what a trajectory says
    diagnostics           what is wrong with a model
    serve                 the i-PI side: wire format, sockets, in-process plugin, inputs, runs
    forces                structures in, energies and forces out
"""

import os
from importlib.metadata import version

# Torch's threads wait for each other by spinning, unless told otherwise before torch is loaded. Beside i-PI, or
# whatever else wants a core now and then, that makes evaluations many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = version("ipi-darkforces")
