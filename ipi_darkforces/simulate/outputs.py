"""The files that i-PI writes for an input: what they are called, and what is asked of them."""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections.abc import Collection, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ipi.engine.outputs import CheckpointOutput, PropertyOutput, TrajectoryOutput
from ipi.engine.properties import Properties, Trajectories, getall
from ipi.inputs.simulation import InputSimulation
from ipi.utils.io.inputs.io_xml import xml_node
from ipi.utils.units import unit_to_user

from ..errors import DarkforcesError, one_line
from .tree import descendants, text_of

# What else i-PI writes under the prefix of the outputs: the nodes that say its name, and the name if nobody says it.
_OTHERS = {"remd": ("swapfile", "remd_idx"), "ffcommittee": ("active_output", "active_output")}
# Motions that write files of their own under the prefix, and may read them if they are there: their names, with the
# prefix that the motion has for them.
_WRITERS = {
    "vibrations": r"{}(?:_full)?\.\w+",
    "instanton": r"{}(?:_\w+)?(?:\.\w+)?",
    "scp": r"{}\.(?:K|iD|q|w|V0|x|v|f)\.\d+",
    "normalmodes": r"(?:{}\.\d+\.(?:qvf|vfit)|(?:modes|potoffset|vindep|vcoupled|evals|evecs)\w*(?:\.\d+)*\.\w+)",
    "al-kmc": "KMC_AL6XXX",
    "planetary": "omega2",
}
_WRITERS_PREFIXES = {"vibrations": "phonons", "instanton": "instanton"}
_RESTART = "RESTART"
# Outputs that are added for a run, see `SimulationInput.add_outputs`.
PROGRESS = "progress"
DISAGREEMENT = "disagreement"
STATE = "resume"
# What is kept of checkpoints beside, see `GoodState`.
_KEPT = ("good", "candidate", "exploded")


class Outputs:
    """The outputs of a simulation.

    :param parsed: the same, as i-PI has parsed it
    """

    def __init__(self, root: xml_node, parsed: InputSimulation):
        self._root = root
        self.prefix = str(parsed.output.prefix.fetch())
        names = [str(system.prefix.fetch()) for kind, system in parsed.extra if kind == "system"]
        self.system_prefixes = [f"{name}_{self.prefix}" if name else self.prefix for name in names] or [self.prefix]
        with redirect_stdout(StringIO()):
            self._outputs: list[Any] = list(parsed.output.fetch())

    def check(self) -> None:
        """Raise a DarkforcesError for what i-PI would not know, or would write outside of its folder."""
        known = {PropertyOutput: Properties().property_dict, TrajectoryOutput: Trajectories().traj_dict}
        for output in self._outputs:
            if isinstance(output, PropertyOutput):
                for what in output.outlist:
                    _check_known(what, known[PropertyOutput], "property")
            elif isinstance(output, TrajectoryOutput):
                _check_known(output.what, known[TrajectoryOutput], "output trajectory")
        for name in self._names():
            if name.startswith("/") or ".." in name.split("/"):
                raise DarkforcesError(
                    f"the output '{name}' would not be in the folder of its run; expected a prefix without '..' that "
                    "does not begin with '/'"
                )

    def folders(self) -> set[str]:
        """Folders that i-PI does not make, and needs."""
        return {posixpath.dirname(name) for name in self._names()} - {""}

    def _names(self) -> list[str]:
        """Names of all files, as far as they do not depend on the number of beads."""
        return [name for names in self._by_kind().values() for name in names]

    def _by_kind(self) -> dict[str, list[str]]:
        """Names of outputs, by what i-PI may add to them, as a regular expression."""
        prefixes = list(dict.fromkeys(self.system_prefixes))
        tables = [o.filename for o in self._outputs if isinstance(o, PropertyOutput)]
        trajectories = [o.filename for o in self._outputs if isinstance(o, TrajectoryOutput)]
        checkpoints = [o.filename for o in self._outputs if isinstance(o, CheckpointOutput)]
        return {
            "": [f"{prefix}.{name}" for prefix in prefixes for name in [*tables, *_ours(PROGRESS)]]
            + [self._named(name) for name in self._other_names()],
            r"(?:_\d+)?(?:\.\w+)?": [
                f"{prefix}.{name}" for prefix in prefixes for name in [*trajectories, *_ours(DISAGREEMENT)]
            ],
            r"(?:_\d+)?": [self._named(name) for name in [*checkpoints, *_ours(STATE), *_KEPT]],
        }

    def _named(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name

    def _other_names(self) -> Iterator[str]:
        for kind, (tag, default) in _OTHERS.items():
            for node in descendants(self._root, kind):
                yield next((text_of(named) for named in descendants(node, tag)), default)

    def match(self, name: str) -> bool:
        """Tell whether i-PI may write a file of that name, relative to its folder; or has put one aside."""
        return self._pattern().fullmatch(name) is not None

    def _pattern(self) -> re.Pattern[str]:
        kinds = self._by_kind().items()
        either = [re.escape(_RESTART)]
        either += [f"(?:{'|'.join(map(re.escape, names))}){ending}" for ending, names in kinds if names]
        for motion in descendants(self._root, "motion"):
            mode = motion.attribs.get("mode", "")
            if mode in _WRITERS:
                default = _WRITERS_PREFIXES.get(mode, "")
                prefix = next((text_of(node) for node in descendants(motion, "prefix")), default)
                either.append(re.escape(self._named("")) + _WRITERS[mode].format(re.escape(prefix)))
        one = "|".join(either)
        return re.compile(rf"(?:{one})|#(?:{one})#\d+#")

    def existing(self, folder: Path) -> list[Path]:
        """The files of the simulation in a folder."""
        places = {folder / place for place in {"", *self.folders()} if (folder / place).is_dir()}
        return [
            file
            for place in sorted(places)
            for file in sorted(place.iterdir())
            if file.is_file() and self.match(file.relative_to(folder).as_posix())
        ]

    def checkpoints(self, folder: Path) -> list[Path]:
        """The checkpoints in a folder; of those that are numbered, the two with the largest numbers."""
        return [file for files in self._checkpoints(folder) for file in files[-2:]]

    def all_checkpoints(self, folder: Path) -> list[Path]:
        """All checkpoints in a folder."""
        return [file for files in self._checkpoints(folder) for file in files]

    def _checkpoints(self, folder: Path) -> Iterator[list[Path]]:
        """The checkpoints of each output, in order."""
        for output in self._outputs:
            if isinstance(output, CheckpointOutput):
                path = folder / self._named(output.filename)
                yield [path] * path.is_file() if output.overwrite else numbered(path)

    def headers(self) -> dict[str, str]:
        """The lines that i-PI writes at the beginning of files of properties, and only if it begins with step 0."""
        found = {}
        for output in self._outputs:
            if isinstance(output, PropertyOutput):
                output.system, output.out = SimpleNamespace(properties=Properties()), StringIO()
                output.print_header()
                for prefix in self.system_prefixes:
                    found[f"{prefix}.{output.filename}"] = output.out.getvalue()
        return found


def free_name(name: str, taken: Collection[str | None]) -> str:
    """Choose a name for an output that nothing else has."""
    while name in taken:
        name = f"darkforces-{name}"
    return name


def _ours(name: str) -> tuple[str, str]:
    """The name of one of our outputs, also where the user has one of that name."""
    return name, free_name(name, [name])


def numbered(path: Path) -> list[Path]:
    """The checkpoints that i-PI has not overwritten, in order: ``PATH_0``, ``PATH_1``, ..."""
    try:
        names = os.listdir(path.parent)
    except OSError:
        return []
    numbers = (name.removeprefix(f"{path.name}_") for name in names if name.startswith(f"{path.name}_"))
    return [path.with_name(f"{path.name}_{number}") for number in sorted(filter(str.isdecimal, numbers), key=int)]


def _check_known(what: str, known: dict[str, Any], kind: str) -> None:
    try:
        name, unit, _, _ = getall(what)
    except ValueError as error:
        raise DarkforcesError(f"output '{what}' cannot be read: {one_line(error)}") from error
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise DarkforcesError(f"{name} is not a recognized {kind}" + (f": did you mean '{near[0]}'?" if near else ""))
    dimension = known[name].get("dimension", "")
    if unit and dimension:
        try:
            with redirect_stdout(StringIO()):
                unit_to_user(dimension, unit, 1.0)
        except Exception as error:  # i-PI raises several kinds about units
            raise DarkforcesError(f"output '{what}': {one_line(error)}") from error
