"""metatrain with what it has no option for: Muon in the place of Adam for PET, losses with `agreement`, CPU times.

    python -m ipi_darkforces.training.recipes.metatrain_program train options.yaml

The time that training has taken is logged as CPU time, which other work on the machine does not lengthen; on a GPU it
is wall time.
"""

from __future__ import annotations

import logging
import sys
import time

_TIMED = ("Starting training", "Epoch:")  # how the lines of metatrain's log begin that tell of training


def use_muon_for_pet(options: str) -> None:
    """Put Muon in Adam's place, if metatrain's options are for PET."""
    import torch
    from omegaconf import OmegaConf

    from ..muon import MuonAndAdam

    if OmegaConf.load(options).architecture.name == "pet":
        torch.optim.Adam = MuonAndAdam  # type: ignore[assignment, misc]


def log_times() -> None:
    """End metatrain's lines on training with the seconds that this process has used."""
    import torch

    make = logging.getLogRecordFactory()
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time

    def make_timed(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if str(record.msg).startswith(_TIMED):
            record.msg = f"{record.msg} | {clock():.2f} s used"
        return record

    logging.setLogRecordFactory(make_timed)


def main() -> None:
    """Entry point: metatrain's own command line, which does the rest."""
    if sys.argv[1:2] != ["train"] or len(sys.argv) < 3:
        asked = {"-h", "--help"} & set(sys.argv[1:])
        print(__doc__, file=sys.stdout if asked else sys.stderr)
        sys.exit(0 if asked else 2)
    from metatrain.__main__ import main as metatrain

    from . import agreement

    use_muon_for_pet(sys.argv[2])
    agreement.register()
    log_times()
    metatrain()


if __name__ == "__main__":
    main()
