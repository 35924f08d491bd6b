"""i-PI with the resident inner loop: between reading its input and running it, `resident.make_resident`.

    python -m ipi_darkforces.simulate.resident_program [-S PREFIX] [-V VERBOSITY] INPUT

Otherwise the same as i-PI's own script.
"""

from __future__ import annotations

import argparse

from ipi.engine.simulation import Simulation
from ipi.utils.softexit import softexit

from ..models.model import REMARK
from .resident import make_resident


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="i-PI with the resident inner loop")
    parser.add_argument("input")
    parser.add_argument("-S", "--sockets_prefix")
    parser.add_argument("-V", "--verbosity")
    args = parser.parse_args()
    with open(args.input) as stream:
        simulation = Simulation.load_from_xml(
            stream, request_banner=True, custom_verbosity=args.verbosity, sockets_prefix=args.sockets_prefix
        )
    reason = make_resident(simulation)
    if reason is not None:
        print(f"{REMARK}: i-PI takes each fast step itself, which costs more time: {reason}", flush=True)
    softexit.hard_exit = True  # as in i-PI's script: when all is cleaned up, the process ends
    simulation.run()
    softexit.trigger(status=simulation.exit_status, message=simulation.exit_message)


if __name__ == "__main__":
    main()
