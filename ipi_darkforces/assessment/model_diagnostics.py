"""Asymmetry and work of a model's forces, and predicted heating of strides, measured once and kept in files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ase

from ..analysis.pictures import save_both
from ..atomic import write_atomically
from ..diagnostics import jacobian, probes
from ..diagnostics.closed_path import turning_molecule
from ..diagnostics.jacobian import Asymmetry
from ..diagnostics.stride import stride as predict
from ..diagnostics.stride_picture import draw_strides
from ..diagnostics.work import integrate
from ..diagnostics.work_picture import draw_work
from ..errors import DarkforcesError
from ..models.jacobian import DerivedJacobian
from ..models.model import ForceModel, Need
from ..models.structure import Structure
from ..stats.estimates import Estimate
from .strides import LONGEST, Strides

WORK_PICTURE, STRIDES_PICTURE = "work", "strides"
_TOLERANCE = 1e-4  # eV, of the work


def asymmetry(
    folder: Path,
    model: Callable[[], ForceModel],
    structure: Structure,
    name: str,
    error: float,
    report: Callable[[int, float], None],
) -> dict[str, object]:
    """λ of the direct forces: estimated with random probes, or from finite differences of a model without derivatives.

    :param folder: where ``jacobian.json`` is kept
    :param model: loads one that can be differentiated, if there is one
    :param error: relative standard error at which to stop
    :param report: called with the number of probes (or atoms), and the relative error that they give
    """

    def measure() -> dict[str, object]:
        loaded = model()
        if not isinstance(loaded.jacobian(structure, Need.DIRECT), DerivedJacobian):
            return _exact_asymmetry(jacobian.measure(loaded, structure, name, report=lambda done: report(done, 0.0)))
        found = probes.estimate(loaded, structure, name, Need.DIRECT, error, report)
        elements = {symbol: estimate.as_json() for symbol, estimate in found.elements.items()}
        return {"probes": found.probes, "lambda": found.value.as_json(), "elements": elements}

    return _kept(folder / "jacobian.json", {"relative_error": error}, measure)


def _exact_asymmetry(found: Asymmetry) -> dict[str, object]:
    elements = {symbol: Estimate(value, 0.0).as_json() for symbol, value in found.elements.items()}
    return {"probes": None, "lambda": Estimate(found.value, 0.0).as_json(), "elements": elements}


def work(
    folder: Path, model: ForceModel, structure: Structure, name: str, report: Callable[[int], None]
) -> dict[str, object]:
    """The work of all forces along a closed path, with a picture; why there is none, if no molecule can turn.

    :param folder: where ``work.json`` and the picture are kept
    :param report: called with the number of evaluations that are done
    """

    def measure() -> dict[str, object]:
        try:
            path = turning_molecule(structure, name)
        except DarkforcesError as error:
            return {"missing": str(error).partition("; or give")[0]}
        loop = integrate(model, path, _TOLERANCE, report)
        save_both(lambda file: draw_work(loop, file), folder / WORK_PICTURE)
        return loop.as_json()

    return _kept(folder / "work.json", {"tolerance_meV": 1000.0 * _TOLERANCE}, measure)


def strides(
    folder: Path,
    model: ForceModel,
    atoms: ase.Atoms,
    temperature: float,
    timestep: float,
    time: float,
    report: Callable[[int, int], None],
) -> dict[str, Any]:
    """Predict the heating of the strides of multiple time stepping, with a picture; or say why that cannot be.

    :param folder: where ``strides.json`` and the picture are kept
    :param temperature: K
    :param timestep: fs, of the fast forces
    :param time: ps, of the run under conservative forces
    :param report: called with the steps that are done and their total
    """

    def measure() -> dict[str, object]:
        try:
            prediction = predict(
                model, atoms, time=time, temperature=temperature, timestep=timestep, longest=LONGEST, report=report
            )
        except DarkforcesError as error:
            return {"missing": str(error)}
        save_both(lambda file: draw_strides(prediction, file), folder / STRIDES_PICTURE)
        return {**Strides.of(prediction).as_json(), "prediction": prediction.as_json()}

    return _kept(folder / "strides.json", {"picoseconds": time}, measure)


def _kept(file: Path, asked: Mapping[str, float], measure: Callable[[], dict[str, object]]) -> dict[str, object]:
    """Read a result that was found with the same settings from its file; else measure it, and write the file."""
    if file.exists():
        held = json.loads(file.read_text())
        if held["asked"] == asked:
            return dict(held["found"])
    found = measure()
    write_atomically(file, json.dumps({"asked": asked, "found": found}, indent=2) + "\n")
    return found
