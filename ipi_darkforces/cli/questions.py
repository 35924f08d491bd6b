"""The questions that ``darkforces analyze`` can ask."""

from __future__ import annotations

import argparse

from ..analysis import drift, motion, motion_picture, statements, structure, structure_picture, temperatures
from .question import Question, Row


def _drift_rows(result: drift.Drift) -> list[Row]:
    row: Row = {
        "run": result.name,
        "time / ps": float(result.time[-1] - result.time[0]),
        "temperature drift / (K/ps)": result.temperature_slope,
        f"conserved drift / ({result.energy_unit}/ps)": result.conserved_slope,
        "over std of kinetic energy / (1/ps)": result.relative_slope,
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


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", type=float, metavar="K", help="temperature to compare with (default: that of the thermostat)"
    )


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


def _add_farthest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--farthest",
        type=float,
        default=structure.FARTHEST,
        metavar="Å",
        help="largest distance, at most half of the cell (default: %(default)g)",
    )


DRIFT = Question(
    "drift",
    "does it heat? slopes of temperature and conserved quantity",
    "Slopes of the temperature and of the conserved quantity, with their errors. The second is the power that wrong "
    "forces or too long a time step feed in, also with a thermostat; the last column is the same over the standard "
    "deviation of the kinetic energy for each atom.",
    lambda run, selection, args: drift.measure(run, selection),
    _drift_rows,
    drift.draw,
    lambda result, first: statements.of_drift(result),
)

TEMPERATURES = Question(
    "temperatures",
    "is energy shared out as it should be? temperatures of all atoms and of each species",
    "Mean kinetic temperatures of all atoms and of each species, in i-PI's convention, from i-PI's properties where "
    "they have them, else from velocities. 'off' is how many standard errors each is above the target: that of the "
    "thermostat in the input, or --target. Species exchange energy within picoseconds: where the input has no "
    "thermostat that acts on each atom, errors of their temperatures are given from 20 ps on.",
    lambda run, selection, args: temperatures.measure(run, selection),
    _temperatures_rows,
    temperatures.draw,
    lambda result, first: statements.of_temperatures(result),
    _add_target,
)

SPECTRA = Question(
    "spectra",
    "how do atoms move? velocity autocorrelation, its spectrum, diffusion",
    "Velocity autocorrelation of all atoms and of each species, and its spectrum: the density of vibrational states. "
    "T is its integral, the kinetic temperature; D is the diffusion coefficient from its limit at zero frequency and, "
    "if there are positions, from the slope of the mean squared displacement: they should agree. 1 Å²/ps is 1e-4 "
    "cm²/s. Bands of molecules with O-H are named, of others the highest peak is given. Shaded in the picture: two "
    "standard errors.",
    lambda run, selection, args: motion.measure(run, selection),
    _spectra_rows,
    motion_picture.draw,
    lambda result, first: statements.of_motion(result),
    columns=lambda result: result.columns(),
)

STRUCTURE = Question(
    "structure",
    "how are atoms arranged? radial distributions, orientation of molecules",
    "Radial distributions g of all pairs of species, with position and height of their first peak, and, if there are "
    "molecules like H2O, the mean cosine c_uu between the directions of two of them at a distance. With several runs "
    "the picture also shows the differences to the first. Shaded: two standard errors.",
    lambda run, selection, args: structure.measure(run, selection, args.farthest),
    _structure_rows,
    structure_picture.draw,
    statements.of_structure,
    _add_farthest,
    columns=lambda result: result.columns(),
)

QUESTIONS = (DRIFT, TEMPERATURES, SPECTRA, STRUCTURE)
