"""The plugin that `darkforces run --in-process` puts into the folder of a run, for i-PI to load.

Which model it serves stands in a file beside it: i-PI's XML has no place for what may have commas in it, or `&`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ipi_darkforces.errors import ERROR, DarkforcesError
from ipi_darkforces.serve.pes import DarkforcesDriver
from ipi_darkforces.simulate.virials import Virials

__DRIVER_NAME__ = "darkforces"
__DRIVER_CLASS__ = "InProcessDriver"


class InProcessDriver(DarkforcesDriver):
    """The same as `DarkforcesDriver`, with a model that another file names.

    :param choice: a JSON file of the parameters that say which model, and of the virials that the simulation needs
    :param settings: component, species, template
    """

    def __init__(self, choice: str, **settings: Any):
        parameters = json.loads(Path(choice).read_text(encoding="utf-8"))
        virials = Virials(**parameters.pop("virials"))
        super().__init__(**parameters, **settings)
        try:
            virials.check(self.split.model, self.role.component)
        except DarkforcesError as error:
            raise SystemExit(f"{ERROR}{error}") from error
