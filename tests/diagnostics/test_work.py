"""Work along closed paths: analytic for fields with a known curl, zero for conservative forces."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from toy_models import EVERYTHING, SpringModel

from ipi_darkforces import Need, Structure
from ipi_darkforces.diagnostics.closed_path import ClosedPath, read_path, turning_molecule
from ipi_darkforces.diagnostics.work import cumulative_integral, integrate
from ipi_darkforces.diagnostics.work_picture import draw_work
from ipi_darkforces.errors import DarkforcesError

# Direct forces of the springs are -r + (y, z, x)/10, with this curl.
CURL = np.array([-0.1, -0.1, -0.1])
RADIUS = 0.7


@pytest.fixture
def pair() -> Structure:
    """Two atoms."""
    return Structure(np.array([8, 1], np.int32), np.array([[3.0, 0.0, 0.0], [RADIUS, 0.0, 0.0]]), np.zeros((3, 3)))


@pytest.fixture
def circle(pair: Structure) -> ClosedPath:
    """The second atom moves around the origin in the xy plane."""

    def at(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angles = 2.0 * np.pi * parameters
        positions = RADIUS * np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], axis=1)
        return positions[:, None], 2.0 * np.pi * np.cross([0.0, 0.0, 1.0], positions)[:, None]

    return ClosedPath("a circle", pair, np.array([1]), at)


def enclosed(path: ClosedPath) -> np.ndarray:
    """½ ∮ r × dr of all atoms, Å², from polygons with very many corners."""
    positions, _ = path.at(np.linspace(0.0, 1.0, 20001))
    return 0.5 * np.cross(positions[:-1], positions[1:]).sum(axis=(0, 1))


class TestIntegral:
    def test_in_a_field_of_known_curl(self, circle: ClosedPath) -> None:
        """By Stokes' theorem it is the curl times the area; and springs do no work on a circle around their anchor."""
        loop = integrate(SpringModel(), circle, tolerance=1e-9)
        assert loop.works["direct"].total == pytest.approx(CURL[2] * np.pi * RADIUS**2, rel=1e-12)
        np.testing.assert_allclose(loop.works["conservative"].cumulative, 0.0, atol=1e-14)
        assert loop.converged
        assert loop.points == 32  # the power is a sine of twice the angle: 16 points are exact, 32 show that they are

    def test_up_to_each_point(self, circle: ClosedPath) -> None:
        """The power is -sin² φ R²/10, from the y that the x of the force is."""
        loop = integrate(SpringModel(), circle)
        phi = 2.0 * np.pi * loop.parameters
        expected = -0.1 * RADIUS**2 * (phi / 2.0 - np.sin(2.0 * phi) / 4.0)
        np.testing.assert_allclose(loop.works["direct"].cumulative, expected, atol=1e-13)

    def test_error_is_one(self) -> None:
        """A sharply peaked but smooth function: the first doublings change much, the last nothing."""
        width = 0.02

        def exact(s: np.ndarray) -> np.ndarray:
            return np.exp(np.cos(2.0 * np.pi * s) / width - 1.0 / width)

        integrals = [cumulative_integral(exact(np.arange(n) / n))[-1] for n in (8, 16, 32, 64, 128)]
        changes = np.abs(np.diff(integrals))
        assert changes[0] > 1e-2
        assert changes[-1] < 1e-14

    @pytest.mark.parametrize("n", [7, 8])
    def test_cumulative_integral_of_a_sine(self, n: int) -> None:
        s = np.arange(n + 1) / n
        values = 3.0 + 2.0 * np.pi * np.cos(2.0 * np.pi * s[:-1])
        np.testing.assert_allclose(cumulative_integral(values), 3.0 * s + np.sin(2.0 * np.pi * s), atol=1e-14)

    def test_what_does_not_converge_says_so(self, circle: ClosedPath) -> None:
        """A path with a kink, for 1024 evaluations."""

        def kinked(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            positions, _ = circle.at(np.abs(parameters - 0.3))
            _, velocities = circle.at(np.abs(parameters - 0.3))
            return positions, velocities * np.where(parameters > 0.3, 1.0, -1.0)[:, None, None]

        loop = integrate(SpringModel(), replace(circle, at=kinked), tolerance=1e-12)
        assert loop.points == 1024
        assert not loop.converged

    def test_only_forces_that_there_are(self, circle: ClosedPath) -> None:
        assert list(integrate(SpringModel(Need.ENERGY | Need.DIRECT), circle).works) == ["direct"]
        assert list(integrate(SpringModel(Need.ENERGY | Need.CONSERVATIVE), circle).works) == ["conservative"]
        with pytest.raises(
            DarkforcesError, match="^model 'springs' provides no forces to do work; it provides energy$"
        ):
            integrate(SpringModel(Need.ENERGY), circle)


class TestTurningMolecule:
    @pytest.mark.parametrize("atom", [None, 0, 100])
    def test_work_is_curl_times_area(self, atom: int | None, water: Structure) -> None:
        """Also across the boundary; nothing else moves, and the way back is found."""
        path = turning_molecule(water, "water", atom)
        loop = integrate(SpringModel(), path, tolerance=1e-9)
        assert loop.works["direct"].total == pytest.approx(CURL @ enclosed(path), rel=1e-6)
        assert abs(loop.works["conservative"].total) < 1e-10
        assert loop.energy_mismatch is not None
        assert loop.energy_mismatch < 1e-9
        assert sorted(water.species[path.moving]) == [1, 1, 8]
        (begin, end), _ = path.structures(np.array([0.0, 1.0]))
        np.testing.assert_allclose(begin.positions, end.positions, atol=1e-12)
        images = (begin.positions - water.positions) @ np.linalg.inv(water.cell)
        np.testing.assert_allclose(images, np.round(images), atol=1e-12)
        if atom is not None:
            assert atom in path.moving

    def test_velocities_are_derivatives(self, water: Structure) -> None:
        path = turning_molecule(water, "water")
        step = 1e-6
        (behind, ahead), _ = path.at(np.array([0.3 - step, 0.3 + step]))
        _, (velocity,) = path.at(np.array([0.3]))
        np.testing.assert_allclose((ahead - behind) / (2 * step), velocity, atol=1e-7)

    def test_most_room_is_taken(self, water: Structure) -> None:
        def nearest(path: ClosedPath) -> float:
            return float(path.name.split("turns; ")[1].split()[0])

        best = nearest(turning_molecule(water, "water"))
        assert all(nearest(turning_molecule(water, "water", atom)) <= best for atom in range(64))

    def test_bundled_model(self, water: Structure, pet_m_float64: SpringModel) -> None:
        """Two molecules of the liquid: conservative to many digits, direct not, and the power is smooth."""
        path = turning_molecule(water, "water")
        near = np.argsort(np.linalg.norm(water.positions - water.positions[path.moving[0]], axis=1))[:9]
        some = np.union1d(path.moving, near)
        small = Structure(water.species[some], water.positions[some], np.zeros((3, 3)))
        moving = np.flatnonzero(np.isin(some, path.moving))
        loop = integrate(pet_m_float64, replace(path, start=small, moving=moving), tolerance=1e-5)
        assert loop.converged
        assert abs(loop.works["conservative"].total) < 1e-5
        assert abs(loop.works["direct"].total) > 1e-3
        assert loop.energy_mismatch is not None
        assert loop.energy_mismatch < 2e-5


@pytest.mark.parametrize(
    ("species", "positions", "atom", "message"),
    [
        ([8, 8], [[0, 0, 0], [5, 0, 0]], None, "^it has no molecule to turn"),
        ([8, 1], [[0, 0, 0], [1, 0, 0]], None, "^it has no molecule to turn"),
        ([8, 1, 8], [[0, 0, 0], [1, 0, 0], [5, 0, 0]], 2, r"^atom 2 \(O\) of it is bonded to none of the others"),
        ([8, 1], [[0, 0, 0], [1, 0, 0]], 1, r"^atom 1 \(H\) of it is of a molecule that is all there is"),
        ([8, 1], [[0, 0, 0], [1, 0, 0]], 2, "^it has no atom 2: expected 0 to 1$"),
        ([8, 1], [[0, 0, 0], [1, 0, 0]], -1, "^it has no atom -1: expected 0 to 1$"),
    ],
)
def test_what_cannot_turn(species: list[int], positions: list[list[float]], atom: int | None, message: str) -> None:
    structure = Structure(np.array(species, np.int32), np.array(positions, float), 20.0 * np.eye(3))
    with pytest.raises(DarkforcesError, match=message):
        turning_molecule(structure, "it", atom)


class TestFiles:
    @pytest.fixture
    def write(self, tmp_path: Path) -> Callable[..., Path]:
        """A circle around z, in a cell whose boundary it crosses, in 40 frames and the first again."""

        def write(change: Callable[[list[ase.Atoms]], None] = lambda frames: None) -> Path:
            angles = 2.0 * np.pi * np.append(np.arange(40) / 40, 0.0)
            frames = []
            for angle in angles:
                moving = RADIUS * np.array([np.cos(angle), np.sin(angle), 0.0])
                frames.append(ase.Atoms("OH", [[3.0, 3.0, 3.0], moving], cell=6 * np.eye(3), pbc=True))
                frames[-1].wrap()
            change(frames)
            ase.io.write(tmp_path / "loop.xyz", frames)
            return tmp_path / "loop.xyz"

        return write

    def test_work_is_that_of_the_circle(self, write: Callable[..., Path]) -> None:
        path = read_path(write())
        np.testing.assert_array_equal(path.moving, [1])
        loop = integrate(SpringModel(), path, tolerance=1e-6)
        assert loop.converged
        assert loop.works["direct"].total == pytest.approx(CURL[2] * np.pi * RADIUS**2, rel=1e-5)

    def test_frames_that_stay_are_passed_over(self, write: Callable[..., Path]) -> None:
        def linger(frames: list[ase.Atoms]) -> None:
            frames[7:7] = [frames[7].copy(), frames[7].copy()]

        lingering, plain = (integrate(SpringModel(), read_path(write(c))) for c in (linger, lambda frames: None))
        assert lingering.works["direct"].total == pytest.approx(plain.works["direct"].total, rel=1e-9)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f.pop(), r"is not closed: atom 1 \(H\) ends 0.11 Å from where it began"),
            (lambda f: f.__delitem__(slice(3, None)), "has 3 structures: expected at least 4, the last the same"),
            (lambda f: f[5].set_chemical_symbols("HO"), "^structure 5 in .* has other atoms than the first"),
            (lambda f: f[5].set_cell(7 * np.eye(3)), "^structure 5 in .* has another cell than the first"),
            (lambda f: [a.set_positions(f[0].positions) for a in f], "goes nowhere: expected structures that differ"),
        ],
    )
    def test_that_are_no_closed_path(self, change: object, message: str, write: Callable[..., Path]) -> None:
        with pytest.raises(DarkforcesError, match=message):
            read_path(write(change))

    def test_that_do_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(DarkforcesError, match=r"^path file '.*no.xyz' does not exist"):
            read_path(tmp_path / "no.xyz")


def test_is_numbers_for_machines(circle: ClosedPath) -> None:
    summary = json.loads(json.dumps(integrate(SpringModel(), circle).as_json()))
    assert summary["work_meV"]["direct"] == pytest.approx(-100.0 * np.pi * RADIUS**2)
    assert summary["converged"] is True
    assert len(summary["parameter"]) == len(summary["cumulative_work_eV"]["direct"]) == summary["points"] + 1


@pytest.mark.parametrize("provides", [EVERYTHING, Need.ENERGY | Need.DIRECT])
def test_picture(provides: Need, circle: ClosedPath, tmp_path: Path) -> None:
    draw_work(integrate(SpringModel(provides), circle), tmp_path / "picture.pdf")
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
