"""Views of forces: structures with conservative and direct forces and their difference as arrows, for chemiscope.

chemiscope (Fraux, Cersonsky, Ceriotti, J. Open Source Softw. 5, 2117, 2020) shows such a file in a browser: on
chemiscope.org, or in a notebook. Its package makes these files too, and needs all of Jupyter for it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from ..analysis.pictures import KIND_COLORS, OTHER_COLORS
from ..errors import about
from ..models.model import ForceModel, Need
from ..models.result import Forces
from ..models.structure import Structure

DIFFERENCE = "direct - conservative"
_LENGTH = 1.0  # Å, about that of an arrow whose force is the rms one
_WIDTHS: dict[str, float | str] = {"baseRadius": 0.08, "headRadius": 0.18, "headLength": 0.25}  # Å
COLORS = {**KIND_COLORS, DIFFERENCE: OTHER_COLORS[0]}
_DIGITS = 5


@dataclass(frozen=True)
class View:
    """Structures with their forces.

    :param structures: by name
    :param energies: eV, shape (n_structures,)
    :param forces: eV/Å, of each structure an array (n_atoms, 3), by what they are: ``conservative``, ``direct``, and
        `DIFFERENCE` if the model has both
    """

    model: str
    structures: Mapping[str, Structure]
    energies: np.ndarray
    forces: Mapping[str, list[np.ndarray]]

    def rms(self, kind: str) -> np.ndarray:
        """Root mean square of the vectors of each structure, eV/Å, shape (n_structures,)."""
        return np.array([np.sqrt(np.mean(np.sum(forces**2, axis=1))) for forces in self.forces[kind]])

    def largest(self, kind: str) -> tuple[float, str, int]:
        """The longest vector in eV/Å, and the name of the structure and the number of the atom that have it."""
        lengths = [np.linalg.norm(forces, axis=1) for forces in self.forces[kind]]
        i = int(np.argmax([each.max() for each in lengths]))
        return float(lengths[i].max()), list(self.structures)[i], int(lengths[i].argmax())

    def write(self, path: Path) -> None:
        """Write a data set for chemiscope, compressed if its name ends in ``.gz``."""
        text = json.dumps(self._dataset(), separators=(",", ":")).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)

    def _dataset(self) -> dict[str, object]:
        counts = np.array([len(structure.species) for structure in self.structures.values()])
        properties = {
            "structure": _property("structure", np.arange(len(counts)), "number in the file"),
            "energy": _property("structure", self.energies / counts, "of the model", "eV/atom"),
        }
        shapes = {}
        for kind, forces in self.forces.items():
            properties[f"{kind}, rms"] = _property("structure", 1000.0 * self.rms(kind), "of all atoms", "meV/Å")
            lengths = 1000.0 * np.linalg.norm(np.concatenate(forces), axis=1)
            properties[f"{kind}, of each atom"] = _property("atom", lengths, "length of the vector", "meV/Å")
            scale = _round_scale(_LENGTH / max(float(np.sqrt(np.mean(self.rms(kind) ** 2))), 1e-9))
            shapes[f"{kind}, 1 Å for {1000.0 / scale:g} meV/Å"] = _arrows(kind, np.concatenate(forces) * scale)
        shown = list(shapes)[-1]
        against = f"{list(self.forces)[-1]}, rms"
        return {
            "meta": {
                "name": f"forces of {self.model}",
                "description": "Arrows are forces, or their differences; choose which under 'shapes'.",
            },
            "structures": [_structure(structure) for structure in self.structures.values()],
            "environments": [
                {"structure": i, "center": atom, "cutoff": 3.5} for i, n in enumerate(counts) for atom in range(n)
            ],
            "properties": properties,
            "shapes": shapes,
            "settings": {
                "target": "structure",
                "map": {"x": {"property": "structure"}, "y": {"property": against}, "color": {"property": "energy"}},
                "structure": [{"shape": [shown], "unitCell": True}],
            },
        }


def view(
    model: ForceModel, structures: Mapping[str, Structure], progress: Callable[[int, int], None] | None = None
) -> View:
    """Evaluate structures with all kinds of forces that a model has.

    :param structures: by name, at least one
    :param progress: called with the number of structures done and to be done
    :raises DarkforcesError: if the model cannot evaluate one; the message names it
    """
    need = Need.ENERGY | model.forces
    results: list[Forces] = []
    for name, structure in structures.items():
        with about(name):
            results.append(model.evaluate(structure, need))
        if progress is not None:
            progress(len(results), len(structures))
    forces: dict[str, list[np.ndarray]] = {}
    for kind in ("conservative", "direct"):
        found = [getattr(result, kind) for result in results]
        if all(each is not None for each in found):
            forces[kind] = found
    if len(forces) == 2:
        forces[DIFFERENCE] = [direct - gradient for gradient, direct in zip(*forces.values(), strict=True)]
    return View(model.name, structures, np.array([result.energy for result in results]), forces)


def _property(target: str, values: np.ndarray, description: str, units: str | None = None) -> dict[str, object]:
    unit = {} if units is None else {"units": units}
    return {"target": target, "values": _rounded(values), "description": description, **unit}


def _arrows(kind: str, vectors: np.ndarray) -> dict[str, object]:
    """Arrows at all atoms; vectors in Å, shape (n_atoms, 3)."""
    atoms = [{"vector": vector} for vector in _rounded(vectors)]
    look = _WIDTHS | {"color": COLORS[kind]}
    return {"kind": "arrow", "parameters": {"global": look, "atom": atoms}}


def _structure(structure: Structure) -> dict[str, object]:
    x, y, z = (_rounded(column) for column in structure.positions.T)
    names = [chemical_symbols[number] for number in structure.species]
    cell = {"cell": _rounded(structure.cell.ravel())} if structure.periodic.all() else {}
    return {"size": len(names), "names": names, "x": x, "y": y, "z": z, **cell}


def _rounded(values: np.ndarray) -> list:
    """JSON values with as many digits as anybody sees."""
    return np.round(np.asarray(values, dtype=float), _DIGITS).tolist()


def _round_scale(scale: float) -> float:
    """1, 2 or 5 times a power of ten, the next below."""
    power = 10.0 ** np.floor(np.log10(scale))
    return float(power * max(digit for digit in (1, 2, 5) if digit * power <= scale * (1 + 1e-9)))
