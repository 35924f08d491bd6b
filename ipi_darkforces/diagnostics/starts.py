"""Starts of geometry optimisations: molecules, clusters, crystals, whole structures (paper, appendix E.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..errors import DarkforcesError
from ..models.structure import Structure
from . import ase_structures
from .bonds import bonded_atoms, bonds, nearest_images

_SIZES = {"molecules": 1, "clusters": 4}  # molecules in each
BUILT = {"g2": ase_structures.molecules, "crystals": ase_structures.crystals}
DISPLACEMENT = 0.1  # Å, standard deviation of each coordinate: with 0.5 Å, as in the paper, most molecules are broken
DEFAULT_NUMBER = {"molecules": 10, "clusters": 10, "g2": 20, "crystals": 20}
_STRAIN = 0.02  # standard deviation of each component of the strain of crystals
SETS = ("molecules", "clusters", "structures", "g2", "crystals")


@dataclass(frozen=True)
class OptimizationStart:
    """A structure from which an optimisation starts.

    :param group: the set that it belongs to, one of `SETS`
    :param name: what it was made from
    :param original: its atoms before they were displaced
    :param width: Å, standard deviation of the displacement of each coordinate; zero if they were not displaced
    :param limit: what kept the displacement smaller than was wanted; None if nothing did
    :param fixed: coordinates that stay where they are, shape (n_atoms, 3); None if all are free
    """

    group: str
    name: str
    structure: Structure
    original: Structure
    width: float = 0.0
    limit: str | None = None
    fixed: np.ndarray | None = None

    @cached_property
    def moving(self) -> np.ndarray:
        """Coordinates that are free to move, shape (n_atoms, 3)."""
        return np.ones(self.structure.positions.shape, bool) if self.fixed is None else ~self.fixed

    @cached_property
    def bonds(self) -> np.ndarray:
        """Pairs of atoms that were bonded before they were displaced, shape (n, 2)."""
        return bonds(self.original)

    def same_bonds(self, structure: Structure) -> bool:
        """True if the same atoms are bonded in another structure."""
        return np.array_equal(self.bonds, bonds(structure))


class _Chosen(NamedTuple):
    """A structure that becomes a start.

    :param as_it_is: not to be displaced
    :param fixed: see `OptimizationStart`
    """

    name: str
    structure: Structure
    as_it_is: bool = False
    fixed: np.ndarray | None = None


def make_starts(
    structures: Mapping[str, Structure],
    groups: Sequence[str] | None = None,
    number: int | None = None,
    displacement: float = DISPLACEMENT,
    seed: int = 0,
    check: Callable[[Structure], object] = lambda structure: None,
    fixed: Mapping[str, np.ndarray] | None = None,
) -> list[OptimizationStart]:
    """Sets of starts.

    ``molecules``: single ones in vacuum, cut out of structures at random, all coordinates displaced. ``clusters``: four
    molecules next to each other, likewise. ``structures``: all of them as they are and, if more are asked for,
    displaced copies. ``g2``: molecules of the set of that name, displaced. ``crystals``: of one element or two,
    strained and displaced.

    :param structures: by their names; none are needed for ``g2`` and ``crystals``
    :param groups: some of `SETS`; None: all that can be made of the structures, or ``g2`` and ``crystals`` without any
    :param number: starts in each set; None: see `DEFAULT_NUMBER`, and the structures as they are
    :param displacement: Å, standard deviation of each coordinate
    :param check: raises a DarkforcesError for what the model does not know, which ``g2`` and ``crystals`` leave out
    :param fixed: coordinates of structures, by their names, that stay where they are, shape (n_atoms, 3); only in the
        set ``structures``, as what is cut out has nothing to be fixed to
    :raises DarkforcesError: if a set that was asked for cannot be made, or a structure has only one atom
    """
    for name, structure in structures.items():
        if len(structure.species) < 2:
            raise DarkforcesError(f"{name} has one atom: expected at least two, or there is nothing to optimise")
    found = {name: _molecules(structure) for name, structure in structures.items()}
    asked = groups is not None
    if groups is None:
        cut = [group for group in SETS if group == "structures" or group in _SIZES and _sites(found, group)]
        groups = cut if structures else list(BUILT)
    starts: list[OptimizationStart] = []
    refusals: list[str] = []
    for group in dict.fromkeys(groups):
        random = np.random.default_rng([seed, SETS.index(group)])  # the same, whatever other sets are made
        wanted = number or DEFAULT_NUMBER.get(group, len(structures))
        if group in BUILT:
            known, refusal = _known(group, check)
            if not known:
                refusals.append(f"the model can be asked for none of the {group}: {refusal}")
                continue
            chosen = _built(known, wanted, random)
        elif not structures:
            raise DarkforcesError(f"{group} are made from structures: expected a file of them after the model")
        elif group == "structures":
            chosen = _repeated(structures, wanted, fixed or {})
        else:
            chosen = _cut_out(structures, found, group, wanted, random)
        for each in chosen:
            moved = each.structure if each.as_it_is else _displaced(each, displacement, random)
            width = 0.0 if each.as_it_is else displacement
            starts.append(OptimizationStart(group, each.name, moved, each.structure, width, fixed=each.fixed))
    if refusals and (asked or not starts):
        raise DarkforcesError(refusals[0])
    return starts


def _known(
    group: str, check: Callable[[Structure], object]
) -> tuple[list[tuple[str, Structure]], DarkforcesError | None]:
    """Structures that the model knows, and the error for the last of the others."""
    known, refusal = [], None
    for candidate in BUILT[group]():
        try:
            check(candidate[1])
            known.append(candidate)
        except DarkforcesError as error:
            refusal = error
    return known, refusal


def _built(candidates: Sequence[tuple[str, Structure]], number: int, random: np.random.Generator) -> Iterator[_Chosen]:
    """Structures built by ase, each as often as any other, all to be displaced."""
    order = np.concatenate([random.permutation(len(candidates)) for _ in range(-(-number // len(candidates)))])
    for i, index in enumerate(order[:number]):
        name, structure = candidates[index]
        again = i // len(candidates)
        strained = _strained(structure, random) if structure.periodic.any() else structure
        yield _Chosen(f"{name} ({again + 1})" if again else name, strained)


def _molecules(structure: Structure) -> list[np.ndarray]:
    """Find the atoms of each molecule: more than one, and not a whole crystal."""
    n = len(structure.species)
    return [m for m in bonded_atoms(structure) if len(m) > 1 and (len(m) < n or not structure.periodic.any())]


def _sites(found: dict[str, list[np.ndarray]], group: str) -> list[tuple[str, int]]:
    """Places where one of these can be cut out: of which structure, around which of its molecules."""
    return [(name, i) for name, each in found.items() if len(each) >= _SIZES[group] for i in range(len(each))]


def _cut_out(
    structures: Mapping[str, Structure],
    found: dict[str, list[np.ndarray]],
    group: str,
    number: int,
    random: np.random.Generator,
) -> Iterator[_Chosen]:
    """Molecules or clusters, each as often as any other, all to be displaced."""
    sites = _sites(found, group)
    if not sites:
        raise DarkforcesError(
            f"no {group} can be cut out of {', '.join(structures)}: expected at least {_SIZES[group]} molecules of two "
            "or more atoms in a structure (bonds by covalent radii)"
        )
    order = np.concatenate([random.permutation(len(sites)) for _ in range(-(-number // len(sites)))])
    for site in order[:number]:
        name, i = sites[site]
        cut = _with_neighbors(structures[name], found[name], i, _SIZES[group])
        yield _Chosen(f"{name}, around atom {found[name][i][0]}", cut)


def _repeated(structures: Mapping[str, Structure], number: int, fixed: Mapping[str, np.ndarray]) -> Iterator[_Chosen]:
    """Structures, each as often as any other; as it is for the first time, then to be displaced."""
    names = list(structures)
    for i in range(number):
        name, again = names[i % len(names)], i // len(names)
        shown = f"{name}, displaced ({again})" if again else name
        yield _Chosen(shown, structures[name], again == 0, fixed.get(name))


def _displaced(chosen: _Chosen, width: float, random: np.random.Generator) -> Structure:
    positions = chosen.structure.positions
    displacement = random.normal(0.0, width, positions.shape)
    if chosen.fixed is not None:
        displacement[chosen.fixed] = 0.0
    return replace(chosen.structure, positions=positions + displacement)


def _strained(structure: Structure, random: np.random.Generator) -> Structure:
    strain = random.normal(0.0, _STRAIN, (3, 3))
    stretch = np.eye(3) + 0.5 * (strain + strain.T)
    return replace(structure, positions=structure.positions @ stretch, cell=structure.cell @ stretch)


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
