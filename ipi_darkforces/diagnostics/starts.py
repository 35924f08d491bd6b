"""Where geometry optimisations start from: molecules, clusters and whole structures (paper, appendix E.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DarkforcesError
from ..forces.structure import Structure
from .molecules import bonded_atoms, bonds, nearest_images

_SIZES = {"molecules": 1, "clusters": 4}  # molecules in each
# How many of each set that the program makes, and Å, standard deviation of each coordinate: the paper's for molecules.
# Clusters and liquids that were displaced as far would be broken ones.
DEFAULT_NUMBER = 10
DISPLACEMENTS = {"molecules": 0.5, "clusters": 0.1, "structures": 0.1}
SETS = tuple(DISPLACEMENTS)


@dataclass(frozen=True)
class Start:
    """Where an optimisation starts.

    :param group: the set that it belongs to, one of `SETS`
    :param name: what it was made from
    :param structure: its atoms
    :param bonds: pairs of atoms that were bonded before they were displaced, shape (n, 2)
    """

    group: str
    name: str
    structure: Structure
    bonds: np.ndarray

    def same_bonds(self, structure: Structure) -> bool:
        """Whether the same atoms are bonded in another structure."""
        return np.array_equal(self.bonds, bonds(structure))


def make_starts(
    structures: dict[str, Structure],
    groups: Sequence[str] | None = None,
    number: int | None = None,
    displacement: float | None = None,
    seed: int = 0,
) -> list[Start]:
    """Sets of starts from structures.

    ``molecules``: single ones in vacuum, chosen at random, all coordinates displaced. ``clusters``: four molecules next
    to each other, likewise. ``structures``: all of them as they are and, if more are asked for, displaced copies.

    :param structures: by their names
    :param groups: some of `SETS`; None: all that can be made of these structures
    :param number: starts in each set; None: ten molecules, ten clusters, and the structures as they are
    :param displacement: Å, standard deviation of each coordinate; None: see `DISPLACEMENTS`
    :param seed: of the random numbers
    :raises DarkforcesError: if a set that was asked for cannot be made, or a structure has only one atom
    """
    for name, structure in structures.items():
        if len(structure.species) < 2:
            raise DarkforcesError(f"{name} has one atom: expected at least two, or there is nothing to optimise")
    molecules = {name: _molecules(structure) for name, structure in structures.items()}
    if groups is None:
        groups = [group for group in SETS if group == "structures" or _sites(molecules, group)]
    starts: list[Start] = []
    for group in groups:
        random = np.random.default_rng([seed, SETS.index(group)])  # the same, whatever other sets are made
        width = DISPLACEMENTS[group] if displacement is None else displacement
        if group == "structures":
            chosen = _repeated(structures, number or len(structures))
        else:
            chosen = _cut_out(structures, molecules, group, number or DEFAULT_NUMBER, random)
        for name, structure, as_it_is in chosen:
            moved = structure if as_it_is else _displaced(structure, width, random)
            starts.append(Start(group, name, moved, bonds(structure)))
    return starts


def _molecules(structure: Structure) -> list[np.ndarray]:
    """Of more than one atom, and not a whole crystal."""
    n = len(structure.species)
    return [m for m in bonded_atoms(structure) if len(m) > 1 and (len(m) < n or not structure.periodic.any())]


def _sites(molecules: dict[str, list[np.ndarray]], group: str) -> list[tuple[str, int]]:
    """Where one of these can be cut out: of which structure, around which of its molecules."""
    return [(name, i) for name, found in molecules.items() if len(found) >= _SIZES[group] for i in range(len(found))]


def _cut_out(
    structures: dict[str, Structure],
    molecules: dict[str, list[np.ndarray]],
    group: str,
    number: int,
    random: np.random.Generator,
) -> Iterator[tuple[str, Structure, bool]]:
    """So many molecules or clusters, each as often as any other; none is to be left as it is."""
    sites = _sites(molecules, group)
    if not sites:
        raise DarkforcesError(
            f"no {group} can be cut out of {', '.join(structures)}: expected at least {_SIZES[group]} molecules of two "
            "or more atoms in a structure (bonds by covalent radii)"
        )
    order = np.concatenate([random.permutation(len(sites)) for _ in range(-(-number // len(sites)))])
    for site in order[:number]:
        name, i = sites[site]
        cut = _with_neighbors(structures[name], molecules[name], i, _SIZES[group])
        yield f"{name}, around atom {molecules[name][i][0]}", cut, False


def _repeated(structures: dict[str, Structure], number: int) -> Iterator[tuple[str, Structure, bool]]:
    """So many of them; whether to leave them as they are: when they come for the first time."""
    names = list(structures)
    for i in range(number):
        name, again = names[i % len(names)], i // len(names)
        yield f"{name}, displaced ({again})" if again else name, structures[name], again == 0


def _displaced(structure: Structure, width: float, random: np.random.Generator) -> Structure:
    return replace(structure, positions=structure.positions + random.normal(0.0, width, structure.positions.shape))


def _with_neighbors(structure: Structure, molecules: list[np.ndarray], here: int, size: int) -> Structure:
    """A molecule and those whose centres are nearest to its own, whole and in vacuum."""
    whole = [
        structure.positions[m[0]] + nearest_images(structure.positions[m] - structure.positions[m[0]], structure)
        for m in molecules
    ]
    centres = np.array([positions.mean(axis=0) for positions in whole])
    vectors = nearest_images(centres - centres[here], structure)
    nearest = np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")[:size]
    positions = np.concatenate([whole[i] - centres[i] + vectors[i] for i in nearest])
    species = np.concatenate([structure.species[molecules[i]] for i in nearest])
    return Structure(species, positions, np.zeros((3, 3)))
