"""metatrain with what it has no option for: `muon.py` in the place of Adam, and losses with `agreement.py`.

python training/fit.py train options.yaml
"""

from __future__ import annotations

import environment  # noqa: F401  isort: skip

import agreement
import torch
from metatrain.__main__ import main
from muon import MuonAndAdam

if __name__ == "__main__":
    torch.optim.Adam = MuonAndAdam  # type: ignore[assignment, misc]
    agreement.register()
    main()
