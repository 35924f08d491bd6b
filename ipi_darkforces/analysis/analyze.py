"""`dark.analyze`: all analyses of one or several runs."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DarkforcesError, check_positive, printable
from ..progress_bar import FileBar
from ..simulate.run_files import RunFiles
from ..stats.rows import Row, aligned, as_columns, html_table
from .analyses import ANALYSES, Analysis, Result
from .io.formats import ASE_VELOCITY
from .io.runs import Reading, Run
from .selection import FARTHEST, Selection
from .statements import Agreement, Statement

logger = logging.getLogger(__name__)

# Å/ps
VELOCITY_UNITS = {"ase": ASE_VELOCITY, "A/ps": 1.0, "A/fs": 1000.0}


@dataclass
class Results:
    """The results of one analysis, for all runs.

    A sequence of the results, each of them documented in the module of its analysis; also by the name of a run.

    :param analysis: the kind of analysis
    :param found: results, for those runs that have one
    :param missing: reasons why there is none, by the names of the other runs
    """

    analysis: Analysis
    found: list[Result] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.found)

    def __getitem__(self, run: int | str) -> Any:
        if isinstance(run, int):
            return self.found[run]
        for result in self.found:
            if result.name == run:
                return result
        raise KeyError(self.missing.get(run, run))

    def rows(self) -> list[Row]:
        """Lines of the table of all runs: values and estimates by titles with units."""
        return [row for result in self.found for row in self.analysis.rows(result)]

    def statements(self, result: Result | None = None) -> list[Statement]:
        """Sentences about a result, or all of them, each compared with the result of the first run."""
        if result is None:
            return [statement for each in self.found for statement in self.statements(each)]
        return self.analysis.statements(result, None if result is self.found[0] else self.found[0])

    def verdict(self, name: str) -> Agreement | None:
        """The most serious verdict of all statements about a run; None if there is no result for it."""
        found = [each.verdict for result in self.found if result.name == name for each in self.statements(result)]
        return max(found, default=None)

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Draw all results as one picture.

        :param path: PNG or PDF to write
        """
        self.analysis.draw(self.found, Path(path))

    def curves(self) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Curves of each run, with its name: columns by their names with units, each of any length."""
        columns = self.analysis.columns
        return [] if columns is None else [(result.name, columns(result)) for result in self.found]

    def to_dict(self) -> dict[str, list[float | str | None]]:
        """The table by its columns, as ``pandas.DataFrame`` takes it; errors and 95 % margins are columns too."""
        return as_columns(self.rows())

    def as_json(self) -> dict[str, object]:
        """Everything for machines: units in the names."""
        return {
            "question": self.analysis.name,
            "runs": [
                {**result.as_json(), "statements": [each.text for each in self.statements(result)]}
                for result in self.found
            ],
            "missing": self.missing,
        }

    def __str__(self) -> str:
        lines = [aligned(self.rows())] if self.found else []
        return "\n".join([*lines, *(f"{name}: {reason}" for name, reason in self.missing.items())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = [html_table(self.rows())] if self.found else []
        return "\n".join([*lines, *(f"<p>{escape(name)}: {escape(why)}</p>" for name, why in self.missing.items())])


@dataclass(frozen=True)
class Analyses:
    """The results of several analyses of the same runs: ``drift``, ``temperatures``, ``spectra``, ``structure``,
    and of simulations that have them ``averages``.

    :param results: of each analysis
    :param notices: remarks on files of which only a part can be used
    :param failed: paths of the runs for which there is no result
    :param discard: ps that were left out at the beginning
    :param described: system, model and time step of each run, by name
    """

    results: tuple[Results, ...]
    notices: list[str]
    failed: list[str]
    discard: float
    described: dict[str, str]

    def __iter__(self) -> Iterator[Results]:
        return iter(self.results)

    def __getattr__(self, name: str) -> Results:
        results: tuple[Results, ...] = vars(self).get("results", ())
        for each in results:
            if each.analysis.name == name:
                return each
        raise AttributeError(f"no analysis '{name}': there are {', '.join(each.analysis.name for each in results)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(each.analysis.name for each in self.results)]

    def __str__(self) -> str:
        return "\n\n".join(f"{each.analysis.name}\n{each}" for each in self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(f"<h3>{each.analysis.name}</h3>{each._repr_html_()}" for each in self)


def analyze(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    only: str | None = None,
    discard: float = 0.0,
    target: float | None = None,
    farthest: float = FARTHEST,
    interval: float | None = None,
    velocity_unit: str = "ase",
) -> Analyses:
    """Analyse trajectories, with error bars that account for time correlation.

    :param runs: one run or several: what `run` returns, a folder made by it or by ``darkforces run``, a folder with
        outputs of i-PI, an i-PI input beside its outputs, or one file of properties or a trajectory
    :param only: the one analysis to make: ``drift``, ``temperatures``, ``spectra``, ``structure`` or ``averages``.
        Default: all, as far as the files allow
    :param discard: ps at the beginning that do not count
    :param target: K, what the temperature should be; default: that of the thermostat in the input
    :param farthest: Å, largest distance of radial distributions; never more than half of the cell
    :param interval: fs between the frames of a trajectory, for files that do not say it
    :param velocity_unit: of columns with velocities in extended XYZ files: ``ase``, ``A/ps`` or ``A/fs``
    :return: the results, of which each has ``rows()``, ``statements()``, ``draw(path)``, ``curves()``, ``to_dict()``
    :raises DarkforcesError: if an argument cannot be, or nothing can be found out about any run. What can be found out
        about some of several runs only is logged, and stands in ``missing``

    >>> import ipi_darkforces as dark
    >>> drift = dark.analyze("hot-run", only="drift").drift
    >>> drift.statements()[0].text.partition(" by ")[0]
    'The temperature rises'
    >>> drift["hot-run"].temperature_slope.value > 9.0
    True
    >>> list(drift.to_dict())[:3]
    ['run', 'time / ps', 'temperature drift / (K/ps)']
    """
    check_settings(discard, target, farthest, interval)
    paths = [Path(each) for each in ([runs] if isinstance(runs, str | os.PathLike) else runs)]
    if not paths:
        raise DarkforcesError("there is no run to analyse: expected at least one")
    results = tuple(Results(analysis) for analysis in _asked(only))
    reading = _reading(interval, velocity_unit)
    notices: dict[str, None] = {}

    def notice(message: str) -> None:
        text = printable(message)
        if text not in notices:  # several analyses read the same file
            notices[text] = None
            logger.warning(text)

    alike = Counter(path.resolve().name for path in paths)
    failed: list[str] = []
    described: dict[str, str] = {}
    for path in paths:
        name = str(path) if alike[path.resolve().name] > 1 else None
        with FileBar(str(path)) as bar:
            selection = Selection(discard, target, farthest, bar.show, notice)
            try:
                run = Run.read(path, notice, reading)
                run = replace(run, name=printable(name or run.name))
                described[run.name] = _describe(run)
                if not only:
                    run = replace(run, trajectories=tuple(each.cached() for each in run.trajectories))
                found = [_add(each, run, selection, needed=only is not None) for each in results]
            except DarkforcesError as error:
                text = printable(error if str(path) in str(error) else f"'{path}': {error}")
                if len(paths) == 1:
                    raise DarkforcesError(text) from error
                for each in results:
                    each.missing[printable(path)] = printable(error)
                if only:
                    notices[text] = None
                logger.error("error: %s", text)
                found = [False]
        failed += [] if any(found) else [printable(path)]
    if not any(each.found for each in results):
        raise DarkforcesError("nothing could be found out about any run, so there is no report")
    shown = tuple(each for each in results if only or each.found or each.analysis.applies is None)
    return Analyses(shown, list(notices), failed, discard, described)


def _asked(only: str | None) -> list[Analysis]:
    asked = [analysis for analysis in ANALYSES if only in (None, analysis.name)]
    if not asked:
        raise DarkforcesError(f"analysis '{only}' is not known: expected {', '.join(each.name for each in ANALYSES)}")
    return asked


def _reading(interval: float | None, velocity_unit: str) -> Reading:
    if velocity_unit not in VELOCITY_UNITS:
        raise DarkforcesError(f"velocity unit '{velocity_unit}' is not known: expected {', '.join(VELOCITY_UNITS)}")
    return Reading(None if interval is None else 1e-3 * interval, VELOCITY_UNITS[velocity_unit])


def _add(results: Results, run: Run, selection: Selection, needed: bool) -> bool:
    """Add the result for a run, or the reason why there is none; say whether there is one.

    :param needed: whether a missing result is an error
    """
    applies = results.analysis.applies
    if not needed and applies is not None and not applies(run):
        return False
    try:
        results.found.append(results.analysis.measure(run, selection))
    except DarkforcesError as error:
        if needed:
            raise
        results.missing[run.name] = printable(error)
        logger.warning("%s: no %s: %s", run.name, results.analysis.name, error)
        return False
    return True


def check_settings(
    discard: float = 0.0, target: float | None = None, farthest: float | None = None, interval: float | None = None
) -> None:
    """Raise a DarkforcesError for numbers that cannot be; see `analyze`."""
    if not discard >= 0.0:
        raise DarkforcesError(f"discard {discard:g} is not a time: expected 0 ps or more")
    check_positive("target", target, "K")
    check_positive("interval", interval, "fs")
    check_positive("farthest", farthest, "Å")


def _describe(run: Run) -> str:
    """Describe a run as far as its files say it: ``H128O64, model pet-m, steps of 0.5 fs``."""
    parts = []
    if run.trajectories:
        counts = sorted(Counter(str(species) for species in run.trajectories[0].species).items())
        parts.append("".join(f"{name}{count if count > 1 else ''}" for name, count in counts))
    elif run.n_atoms:
        parts.append(f"{run.n_atoms} atoms")
    model = _model(run)
    parts += [f"model {model}"] if model else []
    parts += [f"steps of {1000.0 * run.timestep:.4g} fs"] if run.timestep else []
    return printable(", ".join(parts))


def _model(run: Run) -> str | None:
    """The model with which `darkforces run` has begun it."""
    folder = run.path if run.path.is_dir() else run.path.parent
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(RunFiles(folder).model.read_text())["model"])
    return None
