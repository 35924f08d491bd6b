"""Geometry optimisations: the same as ase's own, what becomes of them in known fields, and where they start."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength, FixCartesian, FixedLine
from ase.neighborlist import neighbor_list
from toy_models import SpringModel

from ipi_darkforces import ForceModel, Forces, Need, Structure
from ipi_darkforces.diagnostics import ase_structures
from ipi_darkforces.diagnostics.bonds import bonds
from ipi_darkforces.diagnostics.known_range import APART, NOT_BACK, UNKNOWN, Reach, reach, within_range
from ipi_darkforces.diagnostics.optimizations import ALGORITHMS, Optimization
from ipi_darkforces.diagnostics.optimizations import OptimizationOutcome as Outcome
from ipi_darkforces.diagnostics.optimize import MOLECULAR, PERIODIC, optimize
from ipi_darkforces.diagnostics.optimize_ends import examine, lowest_curvature, rounding_error
from ipi_darkforces.diagnostics.optimize_picture import draw_optimizations
from ipi_darkforces.diagnostics.optimize_records import Records
from ipi_darkforces.diagnostics.starts import OptimizationStart as Start
from ipi_darkforces.diagnostics.starts import make_starts
from ipi_darkforces.diagnostics.structures import read_constrained_files
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.ase_calculator import CalculatorModel
from ipi_darkforces.models.model import without_net_force
from ipi_darkforces.models.registry.load import load_model
from ipi_darkforces.reports.optimizations import reasons

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
    return Start("structures", f"start {seed}", structure, structure)


def with_fire(model: ForceModel, steps: int = 200, **where: float) -> Optimization:
    return next(run for run in optimize(model, [start(**where)], steps).runs if run.algorithm == "FIRE")


class Springs(Calculator):
    """The forces of `SpringModel`, for ase, without what moves or turns all atoms together."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, kind: str):
        super().__init__()
        self._kind = kind

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        r = self.atoms.positions
        forces = -r if self._kind == "conservative" else -r + 0.1 * r[:, [1, 2, 0]]
        structure = Structure(self.atoms.numbers, r, VACUUM)
        self.results = {"energy": 0.0, "forces": without_net_force(forces, structure)}


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

    @pytest.mark.parametrize("periodic", [False, True])
    def test_arrive_where_those_of_ase_do(self, periodic: bool) -> None:
        """Atoms of copper with a potential that many know: a cluster, and a strained crystal."""
        atoms = ase.build.bulk("Cu", cubic=True) * (2, 1, 1) if periodic else ase.Atoms("Cu4", 1.6 * np.eye(4, 3))
        atoms.set_cell(1.02 * atoms.cell, scale_atoms=True)
        atoms.rattle(0.1, seed=1)
        structure = Structure.from_ase(atoms)
        model = load_model("ase:ase.calculators.emt:EMT")
        for run in optimize(model, [Start("structures", "copper", structure, structure)]).runs:
            own = atoms.copy()
            own.calc = EMT()
            with ALGORITHMS[run.algorithm](own, logfile=None) as optimizer:
                assert optimizer.run(fmax=run.threshold, steps=1000)
            assert (run.outcome, run.state.minimum) == (Outcome.CONVERGED, True)
            assert abs(run.steps - optimizer.nsteps) <= 1
            np.testing.assert_allclose(run.end.positions, own.positions, atol=1e-5)

    def test_free_molecules_do_not_turn(self) -> None:
        """A bond of 1 Å, and a torque on it from a model that is not invariant under rotations: both kinds alike."""

        def forces(r: np.ndarray) -> np.ndarray:
            bond = r[1] - r[0]
            along = 30.0 * (np.linalg.norm(bond) - 1.0) * bond / np.linalg.norm(bond)
            turning = 0.05 * np.cross([0.0, 0.0, 1.0], bond)
            return np.array([along - turning, turning - along])

        class Turning(ForceModel):
            def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
                found = [forces(s.positions) for s in structures]
                return [
                    Forces(0.0, f if Need.CONSERVATIVE in need else None, f if Need.DIRECT in need else None)
                    for f in found
                ]

        bent = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0.8, 0.1, 0]]), VACUUM)
        model = Turning("turning", Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT, None, remove_net_force=False)
        for run in optimize(model, [Start("structures", "bond", bent, bent)], 200).runs:
            assert run.outcome is Outcome.CONVERGED
            assert np.linalg.norm(run.end.positions[1] - run.end.positions[0]) == pytest.approx(1.0, abs=1e-6)
            assert np.ptp(run.end.positions[:, 1]) / np.ptp(run.end.positions[:, 0]) == pytest.approx(0.125, abs=1e-6)

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
            optimize(pet_m_float64, [Start("structures", "argon", structure, structure)])


class TestOutcomes:
    def test_unfinished(self) -> None:
        """Springs that are far from where they want to be."""
        run = with_fire(SpringModel(Need.ENERGY | Need.CONSERVATIVE), 20, spread=30.0)
        assert run.outcome is Outcome.UNFINISHED
        assert run.steps == 20

    def test_wandering(self) -> None:
        """Forces that lead around in a circle, where nothing takes away the torque."""
        around = Field(lambda r: 0.1 * np.stack([-r[:, 1], r[:, 0], 0.0 * r[:, 2]], axis=1))
        run = with_fire(around, cell=20.0 * np.eye(3))
        assert run.outcome is Outcome.WANDERING

    def test_stagnant(self) -> None:
        """Two atoms with forces that do not get smaller near where they change their sign: a jump is no rounding."""
        sides = np.array([[1.0], [-1.0]])
        jump = Field(lambda r: sides * np.sign(r[1] - r[0] - 1.0))
        run = with_fire(jump, n_atoms=2, steps=80, cell=20.0 * np.eye(3))
        assert run.outcome is Outcome.STAGNANT
        assert run.forces.min() > 0.1

    def test_outside(self) -> None:
        """Kinds of forces that contradict each other."""

        class Contradicting(SpringModel):
            def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
                shear = [
                    np.stack([0.0 * s.positions[:, 0], 0.0 * s.positions[:, 0], np.sign(s.positions[:, 1])], 1)
                    for s in structures
                ]
                return [
                    Forces(
                        0.0, -s.positions if Need.CONSERVATIVE in need else None, more if Need.DIRECT in need else None
                    )
                    for s, more in zip(structures, shear, strict=True)
                ]

        runs = optimize(
            Contradicting(Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT), [start(cell=50.0 * np.eye(3))], 60
        ).runs
        assert {run.outcome for run in runs if (run.algorithm, run.kind) == ("FIRE", "direct")} == {Outcome.OUTSIDE}
        assert {run.outcome for run in runs if run.kind == "conservative"} == {Outcome.CONVERGED}

    def test_rounding(self) -> None:
        """Springs with noise that does not vanish: the same at the same place."""

        def noisy(r: np.ndarray) -> np.ndarray:
            random = np.random.default_rng(abs(hash(r.tobytes())) % 2**32)
            return -10.0 * r + random.normal(0.0, 1e-3, r.shape)

        run = with_fire(Field(noisy))
        assert run.outcome is Outcome.ROUNDING
        assert 1e-4 < run.forces.min() < 1e-2
        assert 1e-3 < run.state.rounding < 5e-3
        (reason,) = reasons([run])
        assert reason.startswith("1 by rounding: forces got down to 0.00")

    def test_exploded_by_growing_forces(self) -> None:
        run = with_fire(Field(lambda r: 20.0 * r))
        assert run.outcome is Outcome.EXPLODED
        assert run.steps == 200

    def test_failed_where_there_are_no_numbers(self) -> None:
        """Only those that get there; the others of the same batch arrive."""

        def breaking(r: np.ndarray) -> np.ndarray:
            return np.where(np.abs(r).max() > 2.0, np.nan, -r)

        far = replace(start(5.0), original=start().structure)
        found = optimize(Field(breaking), [start(), far, start(seed=1)])
        outcomes = {run.start.name: run.outcome for run in found.runs if run.start.structure.positions.max() < 2.0}
        assert set(outcomes.values()) == {Outcome.CONVERGED}
        failed = [run for run in found.runs if run.outcome is Outcome.FAILED]
        assert len(failed) == 2
        assert all(len(run.forces) == 0 for run in failed)
        np.testing.assert_array_equal(failed[0].end.positions, start(5.0).structure.positions)
        (reason,) = reasons(failed)
        assert reason.startswith(
            "2 failed: model 'field' predicts direct forces that are NaN or infinite for atom 0 (H)"
        )

    def test_forces_vanish_but_bonds_are_gone(self) -> None:
        """Two atoms that were bonded collapse into one place with a third."""
        apart = Structure(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), VACUUM)
        stays, collapses = Field(np.zeros_like), SpringModel(Need.ENERGY | Need.DIRECT)
        whole = Start("structures", "water", apart, apart)
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
    assert (fire.success, fire.outcomes[Outcome.FAILED]) == (0.8, 2)
    assert fire.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)  # tables of Wilson's interval
    assert fire.steps == np.median([run.steps for run in found.of("structures", "FIRE")[:8]])
    said = json.loads(json.dumps(found.as_json()))
    assert said["rates"][0]["success"] == 0.8
    assert len(said["optimizations"]) == 20
    assert said["optimizations"][0]["largest_force_eV_per_angstrom"][-1] < MOLECULAR
    for name, magic in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        draw_optimizations(found, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)


class TestKnownRange:
    """The range for one displaced atom; fractions go up by √2."""

    ORIGIN = Structure(np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, 5]]), VACUUM)

    def reach(self, model: ForceModel, distance: float) -> Reach:
        return reach(model, self.ORIGIN, np.array([[distance, 0.0, 0.0], [0.0, 0.0, 0.0]]))

    def test_all_of_it(self) -> None:
        assert self.reach(Field(lambda r: np.array([-r[0], 0.0 * r[1]])), 3.0) == Reach(1.0, None)

    def test_where_kinds_of_forces_contradict_each_other(self) -> None:
        """They are 0.1 eV/Å apart for each Å from the origin, so 10 Å are the limit."""

        class Sheared(SpringModel):
            def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
                moved = [s.positions - TestKnownRange.ORIGIN.positions for s in structures]
                return [Forces(0.0, -r, -r + 0.1 * r[:, [1, 2, 0]]) for r in moved]

        model = Sheared(Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT)
        assert self.reach(model, 9.9) == Reach(1.0, None)
        assert self.reach(model, 15.0) == Reach(pytest.approx(0.5), APART)
        assert self.reach(model, 1000.0) == Reach(0.0, APART)

    def test_where_forces_pull_no_more(self) -> None:
        """A sine: until π."""
        model = Field(lambda r: np.array([-np.sin(r[0]), 0.0 * r[1]]))
        assert self.reach(model, 3.1) == Reach(1.0, None)
        assert self.reach(model, 4.0) == Reach(pytest.approx(0.5**0.5), NOT_BACK)

    def test_where_a_structure_wants_to_go_anyway(self) -> None:
        """The minimum is at 0.3 Å."""
        model = Field(lambda r: np.array([[0.3 - r[0, 0], 0.0, 0.0], [0.0, 0.0, 0.0]]))
        assert self.reach(model, 2.0) == Reach(1.0, None)

    def test_where_there_are_no_numbers(self) -> None:
        model = Field(lambda r: np.where(np.abs(r[:1]).max() > 1.2, np.nan, -r))
        assert self.reach(model, 2.0) == Reach(pytest.approx(0.5), UNKNOWN)

    def test_starts_are_pulled_in(self) -> None:
        """Only starts that were displaced are pulled in."""
        far = Structure(self.ORIGIN.species, self.ORIGIN.positions + [[4.0, 0, 0], [0, 0, 0]], VACUUM)
        displaced, left = Start("molecules", "a", far, self.ORIGIN, 0.5), Start("structures", "b", far, far)
        model = Field(lambda r: np.array([-np.sin(r[0]), 0.0 * r[1]]))
        nearer, same = within_range(model, [displaced, left])
        assert same is left
        assert (nearer.width, nearer.limit) == (pytest.approx(0.5 * 0.5**0.5), NOT_BACK)
        np.testing.assert_allclose(nearer.structure.positions[0], [4.0 * 0.5**0.5, 0.0, 0.0])


class TestEnds:
    STRUCTURE = Structure(np.ones(4, np.int32), np.random.default_rng(2).normal(0.0, 2.0, (4, 3)), 20.0 * np.eye(3))

    def test_rounding_errors(self) -> None:
        """Errors of forces with five decimals are spread evenly within half a unit of the last."""
        coarse = Field(lambda r: np.round(-3.7 * r, 5))
        found = rounding_error(coarse, Need.DIRECT, self.STRUCTURE)
        assert found is not None
        assert 3e-6 < found < 1e-5
        smooth = rounding_error(Field(lambda r: -3.7 * r), Need.DIRECT, self.STRUCTURE)
        assert smooth is not None
        assert smooth < 1e-12
        assert rounding_error(Field(lambda r: np.nan * r), Need.DIRECT, self.STRUCTURE) is None

    def test_curvature(self) -> None:
        """Curvatures of springs of 1 eV/Å², and of a saddle."""
        assert lowest_curvature(SpringModel(), Need.CONSERVATIVE, self.STRUCTURE) == pytest.approx(1.0, abs=1e-6)
        saddle = examine(Field(lambda r: np.array([-3.0, 2.0, -1.0]) * r), Need.DIRECT, self.STRUCTURE, True)
        assert saddle.curvature == pytest.approx(-2.0, abs=1e-6)
        assert saddle.minimum is False
        assert examine(SpringModel(), Need.DIRECT, self.STRUCTURE, False).minimum is None

    @pytest.mark.parametrize("bent", [0.0, 1e-9, 1e-8, 1e-7, 1e-4])
    def test_curvature_of_molecules_that_are_nearly_linear(self, bent: float) -> None:
        """Curvatures of springs again: inertia about the axis is as small as its rounding errors."""
        axis = np.array([[1.0, 2.0, 3.0]]) / 14**0.5
        positions = np.array([[-1.2], [0.1], [1.1]]) * axis + bent * np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 0]])
        dioxide = Structure(np.array([8, 6, 8]), positions, VACUUM)
        assert lowest_curvature(SpringModel(), Need.CONSERVATIVE, dioxide) == pytest.approx(1.0, abs=1e-4)

    def test_overlapping_atoms(self) -> None:
        near = Structure(np.array([6, 6]), np.array([[0.0, 0, 0], [0.5, 0, 0]]), VACUUM)
        assert examine(SpringModel(), Need.DIRECT, near, False).outside
        bonded = Structure(near.species, 2.0 * near.positions, VACUUM)
        assert not examine(SpringModel(), Need.DIRECT, bonded, False).outside


class TestRecords:
    def test_what_is_done_is_not_done_again(self, tmp_path: Path) -> None:
        """Whatever is left of the last line; but with another model, or other limits, all of it."""
        starts = [start(seed=seed) for seed in range(2)]

        def run(model: ForceModel | None = None, steps: int = 100, name: str = "springs") -> tuple[list[object], int]:
            model = model or SpringModel()
            found = optimize(model, starts, steps, records=Records(tmp_path / "kept.jsonl", name))
            return found.as_json()["optimizations"], model.passes.forward

        first, passes = run()
        text = (tmp_path / "kept.jsonl").read_bytes()
        assert text.count(b"\n") == 8
        again, fewer = run()
        assert json.dumps(again) == json.dumps(first)
        assert fewer == 9  # to see that it is the same model
        assert (tmp_path / "kept.jsonl").read_bytes() == text
        last = text.splitlines(keepends=True)[-1]
        for left in (0, 1, 20, 500, len(last) - 1):
            (tmp_path / "kept.jsonl").write_bytes(text[: len(text) - len(last) + left])
            again, one_more = run()
            assert json.dumps(again) == json.dumps(first)
            assert (fewer < one_more < passes) == (left < len(last) - 1)  # only the end of the line is missing
            assert run()[1] == 9
        assert run(steps=99)[1] == passes
        assert run(name="in single precision")[1] == passes
        stiffer = SpringModel()
        stiffer._evaluate = lambda structures, need: [  # type: ignore[method-assign]
            Forces(0.0, -2.0 * s.positions, -2.0 * s.positions) for s in structures
        ]
        assert run(stiffer)[1] > 9

    def test_what_failed_is_tried_again(self, tmp_path: Path) -> None:
        """The calculator fails at its 25th call, soon after it began, and another time does not."""

        class Failing(EMT):
            calls = 0

            def calculate(self, *arguments: object) -> None:
                Failing.calls += 1
                if Failing.calls == 25:
                    raise RuntimeError("the disk\nis full")
                super().calculate(*arguments)

        copper = Structure.from_ase(ase.build.bulk("Cu", cubic=True))
        moved = replace(copper, positions=copper.positions + np.random.default_rng(0).normal(0.0, 0.1, (4, 3)))
        starts = [Start("crystals", "copper", moved, copper)]
        message = "model 'emt' cannot compute the forces of Cu4: RuntimeError: the disk is full"
        for outcomes in ({Outcome.CONVERGED, Outcome.FAILED}, {Outcome.CONVERGED}):
            found = optimize(CalculatorModel(Failing(), "emt"), starts, records=Records(tmp_path / "kept.jsonl", "emt"))
            assert {run.outcome for run in found.runs} == outcomes
            failures = [run.failure for run in found.runs if run.failure is not None]
            assert failures == ([message] if Outcome.FAILED in outcomes else [])

    def test_files_of_others_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\n")
        with pytest.raises(
            DarkforcesError, match="water.xyz' cannot hold the optimisations .* line 1 is no optimisation"
        ):
            Records(tmp_path / "water.xyz", "springs")
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        with pytest.raises(DarkforcesError, match="it is no text"):
            Records(tmp_path / "binary", "springs")
        with pytest.raises(DarkforcesError, match="Is a directory; give another --results FILE"):
            Records(tmp_path, "springs")


class TestStarts:
    def test_molecules_are_whole_and_displaced(self, water: Structure) -> None:
        still, moved = (make_starts({"water": water}, ["molecules"], 64, width) for width in (1e-9, 0.1))
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
        assert displacements.std() == pytest.approx(0.1, rel=0.1)
        assert {each.width for each in moved} == {0.1}
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

    def test_that_ase_builds(self) -> None:
        """Structures of elements that the model knows; the first are the same, however many are asked for."""
        starts = make_starts({}, number=10)
        assert [each.group for each in starts] == ["g2"] * 10 + ["crystals"] * 10
        assert [each.name for each in make_starts({}, ["g2"], 5)] == [each.name for each in starts[:5]]
        for each in starts:
            molecule = each.group == "g2"
            assert each.structure.periodic.all() != molecule
            assert 3 <= len(each.structure.species) <= 14
            assert np.std(each.structure.positions - each.original.positions) == pytest.approx(each.width, rel=0.5)
            if molecule:
                assert each.same_bonds(each.original)
                assert {1, 6, 7, 8, 9}.issuperset(each.structure.species.tolist())

        def only_gold(structure: Structure) -> None:
            if set(structure.species.tolist()) != {79}:
                raise DarkforcesError("this is no gold")

        gold = make_starts({}, ["crystals"], 3, check=only_gold)
        assert [each.name for each in gold] == ["Au (fcc)", "Au (fcc) (2)", "Au (fcc) (3)"]
        assert np.linalg.det(gold[0].structure.cell) / 8 == pytest.approx(4.08**3 / 4, rel=0.15)  # strained
        assert not np.array_equal(gold[0].structure.cell, gold[1].structure.cell)
        assert {each.group for each in make_starts({}, check=only_gold)} == {"crystals"}  # all that can be made
        with pytest.raises(DarkforcesError, match="the model can be asked for none of the g2: this is no gold"):
            make_starts({}, ["crystals", "g2"], check=only_gold)
        with pytest.raises(DarkforcesError, match="clusters are made from structures: expected a file"):
            make_starts({}, ["clusters"])

    def test_crystals_are_those_that_they_are_called(self) -> None:
        """Nearest neighbours as they should be, in all that are built."""
        neighbors = {"fcc": 12, "bcc": 8, "hcp": 12, "diamond": 4, "rocksalt": 6, "zincblende": 4, "cesiumchloride": 8}
        built = dict(ase_structures.crystals())
        assert len(built) > 50
        for name, structure in built.items():
            atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=True)
            lattice = name.partition("(")[2].rstrip(")")
            assert 8 <= len(atoms) <= 12
            if lattice in neighbors:
                distances = neighbor_list("d", atoms, 6.0)
                near = (distances < 1.1 * distances.min()).sum() / len(atoms)
                assert near == neighbors[lattice] or (near, lattice) == (6, "hcp"), name  # Zn and Cd are stretched

    def test_that_cannot_be_made(self) -> None:
        crystal = Structure(np.array([14, 14]), np.array([[0.0, 0, 0], [1.36, 1.36, 1.36]]), 5.43 * np.eye(3))
        with pytest.raises(
            DarkforcesError, match="no clusters can be cut out of si.xyz: expected at least 4 molecules"
        ):
            make_starts({"si.xyz": crystal}, ["clusters"])
        atom = Structure(np.array([8]), np.zeros((1, 3)), VACUUM)
        with pytest.raises(DarkforcesError, match="atom.xyz has one atom: expected at least two"):
            make_starts({"atom.xyz": atom})


class TestFixed:
    """A slab of copper, its lower layer fixed, and one coordinate of an atom above."""

    @pytest.fixture
    def slab(self) -> ase.Atoms:
        slab = ase.build.fcc111("Cu", (2, 2, 2), vacuum=6.0, periodic=True)
        slab.rattle(0.1, seed=4)
        slab.set_constraint([FixAtoms(range(4)), FixCartesian(6, [False, True, False])])
        return slab

    def test_is_where_ase_gets(self, slab: ase.Atoms, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "slab.traj", slab)
        ((name, (structure, fixed)),) = read_constrained_files([tmp_path / "slab.traj"]).items()
        assert np.flatnonzero(fixed).tolist() == [*range(12), 19]
        starts = make_starts({name: structure}, ["structures"], 2, fixed={name: fixed})
        as_it_is, displaced = (start.structure.positions - slab.positions for start in starts)
        assert not as_it_is.any()
        np.testing.assert_array_equal(displaced != 0.0, ~fixed)
        for run in optimize(load_model("ase:ase.calculators.emt:EMT"), starts[:1]).runs:
            own = slab.copy()
            own.calc = EMT()
            with ALGORITHMS[run.algorithm](own, logfile=None) as optimizer:
                assert optimizer.run(fmax=run.threshold, steps=1000)
            assert (run.outcome, run.state.minimum) == (Outcome.CONVERGED, True)
            assert abs(run.steps - optimizer.nsteps) <= 1
            np.testing.assert_allclose(run.end.positions, own.positions, atol=1e-5)
            np.testing.assert_array_equal(run.end.positions[fixed], slab.positions[fixed])
            assert own.get_forces(apply_constraint=False)[fixed.any(axis=1)].max() > 0.01  # which did not count

    def test_curvature_is_that_of_what_moves(self) -> None:
        """Atoms on a spring that pushes one away: a saddle, unless this atom is fixed."""
        signs = np.array([[-1.0], [1.0]])
        structure = Structure(np.array([1, 1]), np.zeros((2, 3)) + [[0], [3]], 20.0 * np.eye(3))
        field, moving = Field(lambda r: signs * (r - structure.positions)), np.ones((2, 3), bool)
        moving[1] = False
        assert examine(field, Need.DIRECT, structure, True, moving).curvature == pytest.approx(1.0, abs=1e-4)
        moving[1, 0] = True
        assert examine(field, Need.DIRECT, structure, True, moving).curvature == pytest.approx(-1.0, abs=1e-4)

    def test_records_tell_them_apart(self, slab: ase.Atoms, tmp_path: Path) -> None:
        structure = Structure.from_ase(slab)
        fixed = np.arange(24).reshape(8, 3) < 12
        model = load_model("ase:ase.calculators.emt:EMT")
        ends = [
            optimize(model, [Start("structures", "slab", structure, structure, fixed=held)], 3, records=records).runs
            for held in (fixed, None, fixed)
            for records in [Records(tmp_path / "done.jsonl", "EMT")]
        ]
        assert len((tmp_path / "done.jsonl").read_text().splitlines()) == 4
        np.testing.assert_array_equal(ends[0][0].end.positions, ends[2][0].end.positions)
        assert (ends[0][0].end.positions != ends[1][0].end.positions).any()

    def test_what_cannot_be_kept_is_one_clear_line(self, slab: ase.Atoms, tmp_path: Path) -> None:
        for constraint, message in (
            (FixBondLength(0, 1), "has a constraint FixBondLengths, which cannot be kept"),
            (FixAtoms(range(8)), "has fixed atoms only: nothing would move"),
            (FixedLine(0, [1, 1, 0]), "has a FixedLine along directions that are not x, y or z, and only"),
        ):
            slab.set_constraint(constraint)
            ase.io.write(tmp_path / "slab.traj", slab)
            with pytest.raises(DarkforcesError, match=f"slab.traj' {message}"):
                read_constrained_files([tmp_path / "slab.traj"])
