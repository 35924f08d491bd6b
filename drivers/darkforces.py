"""The file to name in i-PI: `<pes>custom</pes> <pes_path>drivers/darkforces.py</pes_path>`, or `-m custom -P` this."""

from ipi_darkforces.serve.pes import DarkforcesDriver

__all__ = ["DarkforcesDriver"]
__DRIVER_NAME__ = "darkforces"
__DRIVER_CLASS__ = "DarkforcesDriver"
