"""Asymmetry of Jacobians: exact for fields with a known curl, the same by derivatives, differences and probes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_models import EVERYTHING, ConstantModule, SpringModel, export_toy
from waters import oxygen_atom

from ipi_darkforces import ForceModel, Forces, Need, Structure
from ipi_darkforces.diagnostics.jacobian import Asymmetry, measure
from ipi_darkforces.diagnostics.jacobian_picture import draw_asymmetry
from ipi_darkforces.diagnostics.probes import estimate
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.jacobian import DerivedJacobian, FiniteDifferences, Jacobian
from ipi_darkforces.models.metatomic import MetatomicModel

KINDS = [Need.DIRECT, Need.CONSERVATIVE]


class VortexModel(SpringModel):
    """Springs whose direct forces also turn about z: f = -r + ω ẑ × r, with the curl 2 ω ẑ."""

    def __init__(self, omega: float, remove_net_force: bool = False):
        super().__init__()
        self.omega = omega
        self.remove_net_force = remove_net_force

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        results = super()._evaluate(structures, need)
        turning = [self.omega * np.cross([0.0, 0.0, 1.0], s.positions) - s.positions for s in structures]
        return [replace(r, direct=t) if Need.DIRECT in need else r for r, t in zip(results, turning, strict=True)]


class LinearModel(SpringModel):
    """Direct forces that are a matrix times the positions, which is their Jacobian.

    :param matrix: eV/Å², shape (3n, 3n)
    """

    def __init__(self, matrix: np.ndarray):
        super().__init__()
        self.matrix = matrix

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        results = super()._evaluate(structures, need)
        direct = [(self.matrix @ s.positions.ravel()).reshape(-1, 3) for s in structures]
        return [replace(r, direct=d) if Need.DIRECT in need else r for r, d in zip(results, direct, strict=True)]

    def jacobian(self, structure: Structure, kind: Need) -> Jacobian:
        return MatrixJacobian(self.matrix) if kind is Need.DIRECT else super().jacobian(structure, kind)


class MatrixJacobian(DerivedJacobian):
    """A model whose Jacobian is a given matrix."""

    def __init__(self, matrix: np.ndarray):
        super().__init__(len(matrix) // 3, 1e-16)
        self._matrix = matrix

    def times(self, vectors: np.ndarray) -> np.ndarray:
        return (self._matrix @ vectors.ravel()).reshape(-1, 3)

    def transposed_times(self, vectors: np.ndarray) -> np.ndarray:
        return (self._matrix.T @ vectors.ravel()).reshape(-1, 3)


@pytest.fixture(scope="module")
def linear() -> LinearModel:
    """Mostly symmetric, λ about 0.4, for five atoms."""
    random = np.random.default_rng(9).normal(size=(15, 15))
    return LinearModel(random + random.T + 0.4 * (random - random.T))


@pytest.fixture
def atoms() -> Structure:
    """Five atoms of two elements, in a cell."""
    positions = np.random.default_rng(3).normal(size=(5, 3))
    return Structure(np.array([8, 1, 1, 8, 1], np.int32), positions, 20.0 * np.eye(3))


@pytest.fixture(scope="module")
def pet(pet_file_float64: Path) -> MetatomicModel:
    """The bundled model in double precision, as it is served: without net force."""
    return MetatomicModel(pet_file_float64, "pet-m")


@pytest.fixture(scope="module")
def cluster(water: Structure) -> Structure:
    """Four molecules that touch, in vacuum."""
    return cut(water, 4, np.zeros((3, 3)))


@pytest.fixture(scope="module")
def droplet(water: Structure) -> Structure:
    """Eight molecules that touch, in a cell with more room than they need."""
    return cut(water, 8, np.diag([12.0, 12.0, 12.0]))


def cut(water: Structure, n_molecules: int, cell: np.ndarray) -> Structure:
    """The molecules around the first, whole."""
    oxygens = np.flatnonzero(water.species == 8)
    hydrogens = np.flatnonzero(water.species == 1)
    positions, centre = water.positions, water.positions[oxygens[0]]
    edges = np.diag(water.cell)

    def seen_from(origin: np.ndarray, others: np.ndarray) -> np.ndarray:
        return others - edges * np.round((others - origin) / edges)

    near = seen_from(centre, positions[oxygens])
    chosen = np.argsort(np.linalg.norm(near - centre, axis=1))[:n_molecules]
    kept = []
    for oxygen in near[chosen]:
        around = seen_from(oxygen, positions[hydrogens])
        kept.append(np.stack([oxygen, *around[np.argsort(np.linalg.norm(around - oxygen, axis=1))[:2]]]))
    return Structure(np.array([8, 1, 1] * n_molecules, np.int32), np.concatenate(kept), cell)


class TestKnownFields:
    @pytest.mark.parametrize("omega", [0.0, 0.01, 1.0, 30.0])
    def test_of_a_vortex(self, omega: float, atoms: Structure) -> None:
        """Each atom has J = -1 + ω [ẑ]×, with ‖J‖² = 3 + 2 ω² and ‖J_anti‖² = 2 ω²; others do not matter."""
        result = measure(VortexModel(omega), atoms, "atoms")
        expected = np.sqrt(2 * omega**2 / (3 + 2 * omega**2))
        assert result.value == pytest.approx(expected, rel=1e-7, abs=1e-9)
        np.testing.assert_allclose(result.atoms, expected, rtol=1e-7, atol=1e-9)
        assert result.elements == pytest.approx({"H": expected, "O": expected}, rel=1e-7, abs=1e-9)
        np.testing.assert_allclose(result.total, np.sqrt(3 + 2 * omega**2) * np.eye(5), atol=1e-8)
        assert result.is_rounding == (omega == 0.0)

    def test_removing_the_net_force_is_part_of_what_is_judged(self, atoms: Structure) -> None:
        """It makes J (δ_ij - 1/n) of J: the same λ, n - 1 times the squared norm, and pairs that act on each other."""
        result = measure(VortexModel(1.0, remove_net_force=True), atoms, "atoms")
        assert result.value == pytest.approx(np.sqrt(2 / 5))
        assert np.sum(result.total**2) == pytest.approx(4 * 5)
        assert result.total[0, 1] == pytest.approx(np.sqrt(5) / 5)

    def test_pairs_and_atoms_are_parts_of_the_whole(self, pet: MetatomicModel, cluster: Structure) -> None:
        result = measure(pet, cluster, "cluster")
        blocks = pet.jacobian(cluster, Need.DIRECT).matrix()
        matrix = blocks.reshape(36, 36)
        whole = np.linalg.norm(matrix - matrix.T) / 2 / np.linalg.norm(matrix)
        assert result.value == pytest.approx(whole)
        both = np.linalg.norm(blocks[2, :, 5]) ** 2 + np.linalg.norm(blocks[5, :, 2]) ** 2
        assert result.total[2, 5] == pytest.approx(np.sqrt(both / 2))
        difference = np.linalg.norm(blocks[2, :, 5] - blocks[5, :, 2].T) / 2
        assert result.pairs[2, 5] == pytest.approx(difference / np.sqrt(both / 2))
        shares = np.sum(result.total**2, axis=1)
        assert np.average(result.atoms**2, weights=shares) == pytest.approx(whole**2)

    def test_shells_hold_all_pairs(self, exact: Asymmetry) -> None:
        own, bonds, *others = exact.shells()
        assert (own.pairs, own.distance, own.furthest) == (24, 0.0, 0.0)
        assert (bonds.nearest, bonds.furthest) == (0.5, 1.5)
        assert bonds.pairs >= 16
        assert own.pairs + bonds.pairs + sum(shell.pairs for shell in others) == 24 * 25 / 2
        n_blocks = own.pairs * own.total**2 + 2 * sum(s.pairs * s.total**2 for s in [bonds, *others])
        assert np.sqrt(n_blocks) == pytest.approx(np.linalg.norm(exact.total))
        # A known model: bonds of water are springs of 50 eV/Å² and far more symmetric than what is between molecules.
        assert 20.0 < bonds.total < 80.0
        assert bonds.asymmetry < 0.1 < others[2].asymmetry


class TestDerivatives:
    @pytest.mark.parametrize("kind", KINDS, ids=str)
    @pytest.mark.parametrize("where", ["cluster", "droplet"])
    def test_agree_with_finite_differences(
        self, kind: Need, where: str, pet: MetatomicModel, request: pytest.FixtureRequest
    ) -> None:
        """Forces are compared as they are served: without net force and, in vacuum, without net torque."""
        structure = request.getfixturevalue(where)
        derived = pet.jacobian(structure, kind)
        differences = ForceModel.jacobian(pet, structure, kind)
        assert isinstance(derived, DerivedJacobian)
        assert isinstance(differences, FiniteDifferences)
        random = np.random.default_rng(0)
        v, w = random.normal(size=(2, *structure.positions.shape))
        along = derived.times(v)
        np.testing.assert_allclose(along, differences.times(v), atol=1e-7 * np.abs(along).max())
        assert np.sum(w * along) == pytest.approx(np.sum(derived.transposed_times(w) * v), rel=1e-9)
        np.testing.assert_allclose(along.sum(axis=0), 0.0, atol=1e-10)

    def test_whole_matrix_from_rows_or_columns(self, pet: MetatomicModel, water: Structure) -> None:
        molecule = cut(water, 1, np.zeros((3, 3)))
        derived = pet.jacobian(molecule, Need.DIRECT).matrix()
        differences = ForceModel.jacobian(pet, molecule, Need.DIRECT).matrix()
        np.testing.assert_allclose(derived, differences, atol=1e-7 * np.abs(derived).max())
        assert not np.allclose(derived, derived.transpose(2, 3, 0, 1), atol=1e-3)

    def test_of_conservative_forces_are_symmetric_to_rounding(
        self, pet: MetatomicModel, pet_file: Path, cluster: Structure
    ) -> None:
        double = measure(pet, cluster, "cluster", Need.CONSERVATIVE)
        single = measure(MetatomicModel(pet_file), cluster, "cluster", Need.CONSERVATIVE)
        assert double.is_rounding
        assert single.is_rounding
        assert 0.0 < double.value < 1e-13
        assert 1e-10 < single.value < 1e-5
        assert not measure(pet, cluster, "cluster").is_rounding

    def test_single_precision_is_enough_for_direct_forces(
        self, pet: MetatomicModel, pet_file: Path, cluster: Structure
    ) -> None:
        single = measure(MetatomicModel(pet_file), cluster, "cluster")
        assert single.value == pytest.approx(measure(pet, cluster, "cluster").value, rel=1e-4)

    def test_step_suits_the_precision(self, pet_file: Path, cluster: Structure) -> None:
        """Differences in single precision have three digits; with the step for double precision they have none."""
        single = MetatomicModel(pet_file)
        v = np.random.default_rng(0).normal(size=cluster.positions.shape)
        exact = single.jacobian(cluster, Need.DIRECT).times(v)
        differences = ForceModel.jacobian(single, cluster, Need.DIRECT)
        assert np.linalg.norm(differences.times(v) - exact) < 3e-3 * np.linalg.norm(exact)


@pytest.fixture(scope="module")
def exact(pet: MetatomicModel, droplet: Structure) -> Asymmetry:
    """The result that probes should find for the droplet."""
    return measure(pet, droplet, "droplet")


class TestProbes:
    @pytest.mark.parametrize(("error", "seed"), [(0.05, 0), (0.02, 2)])
    def test_agree_with_the_exact_value_and_reach_the_error(
        self, error: float, seed: int, pet: MetatomicModel, droplet: Structure, exact: Asymmetry
    ) -> None:
        result = estimate(pet, droplet, "droplet", Need.DIRECT, error, seed=seed)
        assert 0.0 < result.value.error <= error * result.value.value
        assert abs(result.value.value - exact.value) < 2.0 * result.value.margin()
        for symbol, own in result.elements.items():
            assert abs(own.value - exact.elements[symbol]) < 2.0 * own.margin()

    def test_are_right_about_their_errors(self, linear: LinearModel, atoms: Structure) -> None:
        """Nearly 95 % of many estimates have the truth in their interval, and there is no bias."""
        exact = measure(linear, atoms, "atoms")
        results = [estimate(linear, atoms, "atoms", Need.DIRECT, 0.08, seed=seed) for seed in range(300)]
        values = np.array([result.value.value for result in results])
        margins = np.array([result.value.margin() for result in results])
        assert np.mean(np.abs(values - exact.value) < margins) > 0.9
        assert abs(values.mean() - exact.value) < 0.01 * exact.value  # stopping early is what is left of it

    def test_squared_norms_have_no_bias(self, linear: LinearModel, atoms: Structure) -> None:
        """Squared norms of the whole and of each atom."""
        exact = measure(linear, atoms, "atoms")
        result = estimate(linear, atoms, "atoms", Need.DIRECT, 0.01)
        for samples, norms in ((result.total, exact.total), (result.antisymmetric, exact.antisymmetric)):
            errors = samples.std(axis=0, ddof=1) / np.sqrt(result.probes)
            expected = np.sum(norms**2, axis=1)
            assert (np.abs(samples.mean(axis=0) - expected) < 4.0 * errors).all()
            assert (errors < 0.1 * expected).all()

    def test_stop_as_soon_as_they_may(self, linear: LinearModel, atoms: Structure) -> None:
        reached: list[tuple[int, float]] = []
        estimate(linear, atoms, "atoms", Need.DIRECT, 0.03, lambda *now: reached.append(now))
        assert reached[-1][1] <= 0.03
        assert all(error > 0.03 for done, error in reached[:-1] if done >= 16)
        assert estimate(linear, atoms, "atoms", Need.DIRECT, 0.9).probes == 16

    def test_of_conservative_forces_stop_at_rounding(self, pet: MetatomicModel, cluster: Structure) -> None:
        result = estimate(pet, cluster, "cluster", Need.CONSERVATIVE, 1e-6)
        assert (result.probes, result.is_rounding) == (16, True)

    def test_need_derivatives(self, atoms: Structure) -> None:
        with pytest.raises(DarkforcesError, match="model 'springs' cannot be differentiated.* leave --error away"):
            estimate(VortexModel(1.0), atoms, "atoms", Need.DIRECT, 0.05)


class TestWhatCannotBeJudged:
    def test_one_atom(self) -> None:
        alone = oxygen_atom()
        with pytest.raises(DarkforcesError, match="^alone has one atom: expected at least two"):
            measure(VortexModel(1.0), alone, "alone")

    def test_forces_that_the_model_lacks(self, atoms: Structure) -> None:
        model = SpringModel(EVERYTHING & ~Need.DIRECT)
        with pytest.raises(DarkforcesError, match="^atoms: model 'springs' does not provide direct forces"):
            measure(model, atoms, "atoms")

    def test_an_unknown_element(self, pet: MetatomicModel, atoms: Structure) -> None:
        argon = replace(atoms, species=np.full(5, 18, np.int32))
        with pytest.raises(DarkforcesError, match="^argon: model 'pet-m' does not know Ar; it knows H, O"):
            measure(pet, argon, "argon")

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_forces_that_do_not_change(self, kind: Need, tmp_path: Path, atoms: Structure) -> None:
        """Derivatives of what has no graph are zero, and there is no λ."""
        toy = export_toy(tmp_path / "toy.pt")
        constant = export_toy(tmp_path / "constant.pt", ["energy"], ConstantModule())
        model = MetatomicModel(toy if kind is Need.DIRECT else constant)
        with pytest.raises(DarkforcesError, match=f"^atoms: the {kind} do not depend on the positions"):
            measure(model, atoms, "atoms", kind)


def test_is_numbers_for_machines(atoms: Structure) -> None:
    summary = json.loads(json.dumps(measure(VortexModel(1.0), atoms, "atoms").as_json()))
    assert summary["lambda"] == pytest.approx(np.sqrt(2 / 5))
    assert (summary["atoms"], summary["is_rounding"]) == (5, False)
    assert np.shape(summary["antisymmetric_of_pairs_eV_per_angstrom2"]) == (5, 5)
    assert summary["shells"][0]["lambda"] == pytest.approx(np.sqrt(2 / 5))


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_picture(suffix: str, atoms: Structure, tmp_path: Path) -> None:
    results = [measure(VortexModel(omega, remove_net_force=True), atoms, "atoms") for omega in (0.1, 1.0)]
    path = tmp_path / f"picture{suffix}"
    draw_asymmetry(results, "vortices", path)
    assert path.read_bytes().startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix])
