"""Geometry optimisations: the same as ase's own, what becomes of them in known fields, and where they start."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from toy_models import SpringModel

from ipi_darkforces.diagnostics.molecules import bonds
from ipi_darkforces.diagnostics.optimize import ALGORITHMS, MOLECULAR, PERIODIC, Optimization, Outcome, optimize
from ipi_darkforces.diagnostics.optimize_picture import draw_optimizations
from ipi_darkforces.diagnostics.starts import Start, make_starts
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.forces import ForceModel, Forces, Need, Structure

VACUUM = np.zeros((3, 3))


class Field(ForceModel):
    """Direct forces that are a function of the positions; the energy is constant."""

    def __init__(self, forces: Callable[[np.ndarray], np.ndarray]):
        super().__init__("field", Need.ENERGY | Need.DIRECT, species=None, remove_net_force=False)
        self._field = forces

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        return [Forces(0.0, direct=self._field(s.positions)) for s in structures]


def start(spread: float = 0.5, n_atoms: int = 5, cell: np.ndarray = VACUUM, seed: int = 0) -> Start:
    positions = np.random.default_rng(seed).normal(0.0, spread, (n_atoms, 3))
    structure = Structure(np.ones(n_atoms, np.int32), positions, cell)
    return Start("structures", f"start {seed}", structure, bonds(structure))


def with_fire(model: ForceModel, steps: int = 200, **where: float) -> Optimization:
    return next(run for run in optimize(model, [start(**where)], steps).runs if run.algorithm == "FIRE")


class Springs(Calculator):
    """The forces of `SpringModel`, for ase."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, kind: str):
        super().__init__()
        self._kind = kind

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        r = self.atoms.positions
        self.results = {"energy": 0.0, "forces": -r if self._kind == "conservative" else -r + 0.1 * r[:, [1, 2, 0]]}


class TestOptimizations:
    def test_are_those_of_ase(self) -> None:
        """Step by step, although they go side by side here."""
        starts = [start(seed=seed, n_atoms=3 + seed) for seed in range(3)]
        runs = optimize(SpringModel(), starts).runs
        assert len(runs) == 12
        for run in runs:
            s = run.start.structure
            atoms = ase.Atoms(s.species, s.positions, calculator=Springs(run.kind))
            expected: list[float] = []
            with ALGORITHMS[run.algorithm](atoms, logfile=None) as optimizer:
                optimizer.attach(lambda a=atoms, e=expected: e.append(np.linalg.norm(a.get_forces(), axis=1).max()))
                assert optimizer.run(fmax=MOLECULAR, steps=1000)
            assert run.outcome is Outcome.CONVERGED
            np.testing.assert_allclose(run.forces, expected, rtol=1e-9)
            np.testing.assert_allclose(run.end.positions, atoms.positions, atol=1e-12)

    def test_thresholds_are_the_papers(self) -> None:
        runs = optimize(SpringModel(), [start(), start(cell=20.0 * np.eye(3))]).runs
        assert {(run.end.periodic.all(), run.threshold) for run in runs} == {(False, MOLECULAR), (True, PERIODIC)}
        assert all(run.forces[-1] < run.threshold <= run.forces[-2] for run in runs)
        (loose, *_) = optimize(SpringModel(), [start()], threshold=0.3).runs
        assert loose.forces[-1] < 0.3 <= loose.forces[-2]

    def test_progress_counts_what_was_saved(self) -> None:
        reports: list[tuple[int, int]] = []
        optimize(SpringModel(), [start()], 300, report=lambda done, total: reports.append((done, total)))
        done = [done for done, _ in reports]
        assert done == sorted(done)
        assert reports[-1] == (1200, 1200)

    def test_of_a_model_without_forces(self) -> None:
        with pytest.raises(DarkforcesError, match="'springs' provides no forces to follow; it provides energy"):
            optimize(SpringModel(Need.ENERGY), [start()])

    def test_of_elements_that_are_not_known(self, pet_m_float64: ForceModel) -> None:
        structure = Structure(np.array([18, 18]), np.array([[0.0, 0, 0], [0, 0, 3]]), VACUUM)
        with pytest.raises(DarkforcesError, match="argon: model 'pet-m' does not know Ar"):
            optimize(pet_m_float64, [Start("structures", "argon", structure, bonds(structure))])


class TestOutcomes:
    def test_unfinished(self) -> None:
        """Springs that are far from where they want to be."""
        run = with_fire(SpringModel(), 20, spread=30.0)
        assert run.outcome is Outcome.UNFINISHED
        assert run.steps == 20

    def test_wandering(self) -> None:
        """Forces that lead around in a circle."""
        run = with_fire(Field(lambda r: 0.1 * np.stack([-r[:, 1], r[:, 0], 0.0 * r[:, 2]], axis=1)))
        assert run.outcome is Outcome.WANDERING

    def test_stagnant(self) -> None:
        """Springs with noise that does not vanish: the same at the same place."""

        def noisy(r: np.ndarray) -> np.ndarray:
            random = np.random.default_rng(abs(hash(r.tobytes())) % 2**32)
            return -10.0 * r + random.normal(0.0, 1e-3, r.shape)

        run = with_fire(Field(noisy))
        assert run.outcome is Outcome.STAGNANT
        assert 1e-4 < run.forces.min() < 1e-2

    def test_exploded_by_growing_forces(self) -> None:
        run = with_fire(Field(lambda r: 20.0 * r))
        assert run.outcome is Outcome.EXPLODED
        assert run.steps == 200

    def test_exploded_where_there_are_no_numbers(self) -> None:
        """Only those that get there; the others of the same batch arrive."""

        def breaking(r: np.ndarray) -> np.ndarray:
            return np.where(np.abs(r).max() > 2.0, np.nan, -r)

        found = optimize(Field(breaking), [start(), start(5.0), start(seed=1)])
        outcomes = {run.start.name: run.outcome for run in found.runs if run.start.structure.positions.max() < 2.0}
        assert set(outcomes.values()) == {Outcome.CONVERGED}
        exploded = [run for run in found.runs if run.outcome is Outcome.EXPLODED]
        assert len(exploded) == 2
        assert all(len(run.forces) == 0 for run in exploded)
        np.testing.assert_array_equal(exploded[0].end.positions, start(5.0).structure.positions)

    def test_forces_vanish_but_bonds_are_gone(self) -> None:
        """Two atoms that were bonded collapse into one place with a third."""
        apart = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), VACUUM)
        stays, collapses = Field(np.zeros_like), SpringModel(Need.ENERGY | Need.DIRECT)
        whole = Start("structures", "water", apart, bonds(apart))
        assert bonds(apart).tolist() == [[0, 1], [0, 2]]
        for model, intact in ((stays, True), (collapses, False)):
            rates = optimize(model, [whole]).rates()
            assert {(rate.success, rate.intact == 1) for rate in rates} == {(1.0, intact)}


def test_rates_and_what_is_printed_and_drawn(tmp_path: Path) -> None:
    """Eight of ten arrive; ten are few."""
    starts = [start(5.0 if seed > 7 else 0.3, seed=seed) for seed in range(10)]
    found = optimize(Field(lambda r: np.where(np.abs(r).max() > 2.0, np.nan, -r)), starts)
    fire, lbfgs = found.rates()
    assert (fire.algorithm, lbfgs.algorithm, fire.kind) == ("FIRE", "L-BFGS", "direct")
    assert (fire.success, fire.outcomes[Outcome.EXPLODED]) == (0.8, 2)
    assert fire.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)  # tables of Wilson's interval
    assert fire.steps == np.median([run.steps for run in found.of("structures", "FIRE")[:8]])
    said = json.loads(json.dumps(found.as_json()))
    assert said["rates"][0]["success"] == 0.8
    assert len(said["optimizations"]) == 20
    assert said["optimizations"][0]["largest_force_eV_per_angstrom"][-1] < MOLECULAR
    for name, magic in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        draw_optimizations(found, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)


class TestStarts:
    def test_molecules_are_whole_and_displaced(self, water: Structure) -> None:
        still, moved = (make_starts({"water": water}, ["molecules"], 64, width) for width in (1e-9, None))
        assert len({each.name for each in still}) == 64  # each of them once
        for each in still:
            assert each.structure.species.tolist() == [8, 1, 1]
            assert not each.structure.periodic.any()
            bond_lengths = np.linalg.norm(each.structure.positions[1:] - each.structure.positions[0], axis=1)
            assert ((bond_lengths > 0.8) & (bond_lengths < 1.2)).all()
            assert each.same_bonds(each.structure)
        displacements = np.concatenate(
            [b.structure.positions - a.structure.positions for a, b in zip(still, moved, strict=True)]
        )
        assert displacements.std() == pytest.approx(0.5, rel=0.1)
        assert [each.bonds.tolist() for each in moved] == [[[0, 1], [0, 2]]] * 64

    def test_clusters_are_next_to_each_other(self, water: Structure) -> None:
        for each in make_starts({"water": water}, ["clusters"], 5, 1e-9):
            oxygens = each.structure.positions[each.structure.species == 8]
            assert len(oxygens) == 4
            assert (np.linalg.norm(oxygens[1:] - oxygens[0], axis=1) < 3.6).all()
            assert len(each.bonds) == 8

    def test_structures_as_they_are_and_then_displaced(self, water: Structure) -> None:
        starts = make_starts({"a": water, "b": water}, ["structures"], 5)
        assert [each.name for each in starts] == ["a", "b", "a, displaced (1)", "b, displaced (1)", "a, displaced (2)"]
        moved = [np.std(each.structure.positions - water.positions) for each in starts]
        assert moved[:2] == [0.0, 0.0]
        assert moved[2:] == pytest.approx([0.1] * 3, rel=0.1)

    def test_what_can_be_made_is_made_by_default(self, water: Structure) -> None:
        groups = [each.group for each in make_starts({"water": water})]
        assert groups == ["molecules"] * 10 + ["clusters"] * 10 + ["structures"]
        crystal = Structure(np.array([14, 14]), np.array([[0.0, 0, 0], [1.36, 1.36, 1.36]]), 5.43 * np.eye(3))
        assert [each.group for each in make_starts({"silicon": crystal})] == ["structures"]

    def test_depend_on_the_seed_alone(self, water: Structure) -> None:
        one, same, all_sets, other = (
            make_starts({"water": water}, groups, seed=seed)[:10]
            for groups, seed in ((["molecules"], 3), (["molecules"], 3), (None, 3), (["molecules"], 4))
        )
        positions = [np.array([each.structure.positions for each in starts]) for starts in (one, same, all_sets, other)]
        assert np.array_equal(positions[0], positions[1])
        assert np.array_equal(positions[0], positions[2])
        assert not np.array_equal(positions[0], positions[3])

    def test_that_cannot_be_made(self) -> None:
        crystal = Structure(np.array([14, 14]), np.array([[0.0, 0, 0], [1.36, 1.36, 1.36]]), 5.43 * np.eye(3))
        with pytest.raises(
            DarkforcesError, match="no clusters can be cut out of si.xyz: expected at least 4 molecules"
        ):
            make_starts({"si.xyz": crystal}, ["clusters"])
        atom = Structure(np.array([8]), np.zeros((1, 3)), VACUUM)
        with pytest.raises(DarkforcesError, match="atom.xyz has one atom: expected at least two"):
            make_starts({"atom.xyz": atom})
