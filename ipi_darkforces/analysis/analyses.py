"""The analyses of trajectories: how each is named, measured, tabulated, drawn and put into words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..stats.rows import Row
from . import averages, drift, motion, motion_picture, statements, structure, structure_picture, temperatures
from .io.runs import Run
from .selection import Selection
from .statements import Statement


class Result(Protocol):
    """The result of an analysis for one run."""

    @property
    def name(self) -> str:
        """Name of the run."""
        ...

    def as_json(self) -> dict[str, object]:
        """The result for machines: units in the names."""
        ...


@dataclass(frozen=True)
class Analysis:
    """A kind of analysis.

    :param name: in the command line and of files
    :param help: the purpose and the results, in a line
    :param description: the same at length, and how to read the result
    :param measure: makes the result for a run
    :param rows: the result as lines of a table
    :param draw: draws the results of several runs as one picture, to a PNG or PDF
    :param statements: the result in words, compared with that of a reference, or with None
    :param columns: curves of the result by their names with units, each of any length; None if there are none
    :param applies: whether a run has anything for it, where only some kinds of simulations have; None if all should
    """

    name: str
    help: str
    description: str
    measure: Callable[[Run, Selection], Any]
    rows: Callable[[Any], list[Row]]
    draw: Callable[[Sequence[Any], Path], None]
    statements: Callable[[Any, Any], list[Statement]]
    columns: Callable[[Any], dict[str, np.ndarray]] | None = None
    applies: Callable[[Run], bool] | None = None


def _drift_rows(result: drift.Drift) -> list[Row]:
    row: Row = {
        "run": result.name,
        "time / ps": float(result.time[-1] - result.time[0]),
        **drift.columns(
            result.temperature_slope,
            result.conserved_slope,
            result.heating,
            result.relative_slope,
            result.energy_unit,
        ),
    }
    return [row]


def _temperatures_rows(result: temperatures.Temperatures) -> list[Row]:
    row: Row = {
        "run": result.name,
        "time / ps": result.duration,
        "from": result.source,
        "target / K": result.target,
    }
    for species, mean in result.means.items():
        row[f"T({species}) / K"] = mean
        row[f"off({species})"] = result.deviations[species]
    return [row]


def _spectra_rows(result: motion.Motion) -> list[Row]:
    found, moved = result.spectra, result.displacements
    rows: list[Row] = []
    for species in found.rows:
        row: Row = {
            "run": found.name,
            "species": species,
            "time / ps": found.duration,
            "T / K": found.temperatures[species],
            "D(ω → 0) / (Å²/ps)": found.diffusion.get(species),
        }
        if moved is not None:
            row["D(displacements) / (Å²/ps)"] = moved.diffusion.get(species)
        row |= {f"{band} / cm⁻¹": position for band, position in found.bands[species].items()}
        rows.append(row)
    return rows


def _structure_rows(result: structure.Correlations) -> list[Row]:
    return [
        {
            "run": result.name,
            "function": key,
            "frames": str(result.n_frames),
            "first peak / Å": None if function.peak is None else function.peak.position,
            "height": None if function.peak is None else function.peak.height,
        }
        for key, function in result.functions.items()
    ]


def _averages_rows(result: averages.Averages) -> list[Row]:
    row: Row = {"run": result.name, "time / ps": result.duration}
    for title, mean in result.means.items():
        unit = result.units[title]
        row[f"{title} / {f'({unit})' if '/' in unit else unit}"] = mean
    return [row]


DRIFT = Analysis(
    "drift",
    "does it heat? slopes of temperature and conserved quantity",
    "Slopes of the temperature and of the conserved quantity, with their errors. The second is the power that wrong "
    "forces or too long a time step feed in, also with a thermostat; the last column is the same over the standard "
    "deviation of the kinetic energy for each atom.",
    drift.measure,
    _drift_rows,
    drift.draw,
    lambda result, first: statements.of_drift(result),
)

TEMPERATURES = Analysis(
    "temperatures",
    "is energy shared out as it should be? temperatures of all atoms and of each species",
    "Mean kinetic temperatures of all atoms and of each species, in i-PI's convention, from i-PI's properties where "
    "they have them, else from velocities. 'off' is how many standard errors each is above the target: that of the "
    "thermostat in the input, or --target. Species exchange energy within picoseconds: where the input has no "
    "thermostat that acts on each atom, errors of their temperatures are given from 20 ps on.",
    temperatures.measure,
    _temperatures_rows,
    temperatures.draw,
    lambda result, first: statements.of_temperatures(result),
)

SPECTRA = Analysis(
    "spectra",
    "how do atoms move? velocity autocorrelation, its spectrum, diffusion",
    "Velocity autocorrelation of all atoms and of each species, and its spectrum: the density of vibrational states. "
    "T is the mean kinetic temperature; it is also the integral of the spectrum, in which frames in the middle of "
    "segments count more. D is the diffusion coefficient from the spectrum's limit at zero frequency and, if there are "
    "positions, from the slope of the mean squared displacement: they should agree. 1 Å²/ps is 1e-4 cm²/s. Bands of "
    "molecules with O-H are named, of others the highest peak is given. Shaded in the picture: two standard errors.",
    motion.measure,
    _spectra_rows,
    motion_picture.draw,
    lambda result, first: statements.of_motion(result),
    columns=lambda result: result.columns(),
)

STRUCTURE = Analysis(
    "structure",
    "how are atoms arranged? radial distributions, orientation of molecules",
    "Radial distributions g of all pairs of species, with position and height of their first peak, and, if there are "
    "molecules like H2O, the mean cosine c_uu between the directions of two of them at a distance. With several runs "
    "the picture also shows the differences to the first. Shaded: two standard errors.",
    structure.measure,
    _structure_rows,
    structure_picture.draw,
    statements.of_structure,
    columns=lambda result: result.columns(),
)

AVERAGES = Analysis(
    "averages",
    "constant pressure and quantum nuclei: density, pressure, quantum kinetic energy",
    "Means of density, volume, pressure and quantum kinetic energies (K, by the centroid virial estimator), as far as "
    "i-PI's properties have them: density{g/cm3}, volume{angstrom3}, pressure_md{bar}, or pressure_cv{bar} of several "
    "beads, kinetic_cv{electronvolt}, kinetic_cv(H){electronvolt}.",
    averages.measure,
    _averages_rows,
    averages.draw,
    statements.of_averages,
    columns=lambda result: (
        {"t / ps": result.time}
        | {f"{title} / {result.units[title]}": values for title, values in result.series.items()}
    ),
    applies=averages.has_some,
)

ANALYSES = (DRIFT, TEMPERATURES, SPECTRA, STRUCTURE, AVERAGES)
