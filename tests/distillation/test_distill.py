"""Distillation, as a user meets it: ase's EMT as the teacher, and a tiny training."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.constraints import FixAtoms, FixBondLength
from calculators import FILE

import ipi_darkforces as dark
from ipi_darkforces.distillation.judge import judge, temperature
from ipi_darkforces.distillation.plan import DistillationPlan, check_time
from ipi_darkforces.distillation.result import Distillation
from ipi_darkforces.distillation.sample import System, follow
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.card import Card
from ipi_darkforces.models.registry.zoo import card_of, user_directory
from ipi_darkforces.training.labels import LabelledTrajectory as Trajectory

SMALL: dict[str, Any] = {"size": "xs", "timestep": 4.0, "evaluations": 40, "steps": 24}


def copper() -> ase.Atoms:
    return bulk("Cu", cubic=True)


def teacher() -> dark.ForceModel:
    return dark.load_model(f"ase:{FILE}:emt")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Distillation]:
    """A folder with a distillation, and its result."""
    here = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(here / "data"))
        found = dark.distill(teacher(), copper(), "cu-fast", folder=here / "folder", **SMALL)
    return here, found


@pytest.fixture
def here(finished: tuple[Path, Distillation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with the model that it made."""
    shutil.copytree(finished[0], tmp_path / "copy")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "copy" / "data"))
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_the_student_is_a_model_with_a_name_and_a_card(here: Path, finished: tuple[Path, Distillation]) -> None:
    student = dark.load_model("cu-fast")
    assert student.provides == dark.Need.ENERGY | dark.Need.DIRECT
    forces = student.evaluate(copper() * 2, dark.Need.DIRECT).direct
    assert np.isfinite(forces).all()
    card = card_of("cu-fast")
    assert card is not None
    assert card.teacher == "ase:calculators.py:emt"
    assert card.elements == ("Cu",)
    with pytest.raises(DarkforcesError, match="does not know Al; it knows Cu"):
        student.evaluate(bulk("Al"), dark.Need.DIRECT)


def test_the_result_says_what_to_type_next(finished: tuple[Path, Distillation]) -> None:
    _, found = finished
    assert found.labels == 40
    assert found.steps == 24
    assert found.failures == ()
    assert found.command.startswith("darkforces run --structure STRUCTURE --mts ")
    assert "--fast cu-fast --slow" in found.command
    assert str(found).endswith(found.command)
    assert replace(found, variant="pbe").command.endswith(" --variant slow.pbe --timestep 4")
    assert json.loads(json.dumps(found.as_json()))["strides"][0]["stride"] == 2


def test_the_same_call_asks_the_teacher_for_no_more_labels(here: Path, finished: tuple[Path, Distillation]) -> None:
    emt = teacher()
    again = dark.distill(emt, copper(), "cu-fast", folder=here / "folder", **SMALL)
    assert emt.passes.forward < 20  # to measure times
    assert again.judgement.rms == finished[1].judgement.rms


def test_more_adds_a_round(here: Path, finished: tuple[Path, Distillation]) -> None:
    plans: list[DistillationPlan] = []
    options = {**SMALL, "folder": here / "folder", "announce": plans.append}

    def stop(what: str, done: int, total: int) -> None:
        if what == "judging":  # when the student is not the one any more that has the name
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dark.distill(teacher(), copper(), "cu-fast", more=True, **{**options, "steps": 32, "report": stop})
    again = dark.distill(teacher(), copper(), "cu-fast", **options)
    assert (again.labels, again.steps) == (60, 48)
    left = [(each.equilibration, each.held_out, each.labels, each.steps) for each in plans]
    assert left == [(0, 0, 20, 24), (0, 0, 0, 0)]


def test_labels_of_another_teacher_or_system_are_not_mixed(here: Path, finished: tuple[Path, Distillation]) -> None:
    other = dark.load_model("ase:ase.calculators.emt:EMT")
    with pytest.raises(DarkforcesError, match="the teacher or its weights were"):
        dark.distill(other, copper(), "cu-fast", folder=here / "folder", **SMALL)
    same = teacher()
    with pytest.raises(DarkforcesError, match="structures was"):
        dark.distill(same, copper() * (2, 1, 1), "cu-fast", folder=here / "folder", **SMALL)
    for name, damaged in (
        ("rounds", "{}"),
        ("rounds", "[1]"),
        ("rounds", "["),
        ("rounds", '[{"labels": "x", "steps": 1}]'),
        ("settings", "{}"),
        ("settings", "[1]"),
        ("settings", "{"),
    ):
        (here / "folder" / f"{name}.json").write_text(damaged)
        with pytest.raises(DarkforcesError, match=f"{name}.json' is damaged: expected the {name} of a distillation"):
            dark.distill(same, copper(), "cu-fast", folder=here / "folder", **SMALL)


def test_a_student_of_another_teacher_is_said(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dark.load_model("fast=cu-fast slow=ase:ase.calculators.emt:EMT")
    assert "'cu-fast': it is a student of 'ase:calculators.py:emt" in caplog.text
    caplog.clear()
    card = card_of("cu-fast")
    assert card is not None
    path = user_directory() / "cu-fast.json"
    fingerprint = dark.load_model("ase:ase.calculators.emt:EMT")
    Card(**{**card.as_dict(), "teacher_fingerprint": _fingerprint(fingerprint)}).write(path)
    with caplog.at_level(logging.WARNING):
        dark.load_model("fast=cu-fast slow=ase:ase.calculators.emt:EMT")
    assert caplog.text == ""


def _fingerprint(model: dark.ForceModel) -> str:
    from ipi_darkforces.models.registry.load import ModelChoice

    return ModelChoice.of(model).identity()["fingerprint"]


def test_a_taken_name_is_refused_before_anything_is_done(here: Path, tmp_path: Path) -> None:
    with pytest.raises(DarkforcesError, match="'cu-fast' is there already"):
        dark.distill(teacher(), copper(), "cu-fast", folder=tmp_path / "new", **SMALL)
    with pytest.raises(DarkforcesError, match="'pet-m' is the name of a bundled model"):
        dark.distill(teacher(), copper(), "pet-m", folder=tmp_path / "new", **SMALL)
    (user_directory() / "weights.ckpt").write_text("without a card, and somebody's")
    with pytest.raises(DarkforcesError, match="'weights' is there already"):
        dark.distill(teacher(), copper(), "weights", folder=tmp_path / "new", **SMALL)
    assert not (tmp_path / "new").exists()
    Path("folder/settings.json").unlink()
    with pytest.raises(DarkforcesError, match=r"'folder' is no folder of a distillation .*cu-fast.ckpt"):
        dark.distill(teacher(), copper(), "new", folder=Path("folder"), **SMALL)


def test_where_the_teacher_fails_is_left_out_counted_and_said(tmp_path: Path) -> None:
    """Every 25th evaluation fails, and the dynamics of that geometry ends there."""
    from ipi_darkforces.distillation.folder import DistillationSettings, DistillFolder
    from ipi_darkforces.distillation.rounds import Rounds

    folder, settings = DistillFolder(tmp_path / "folder", "x"), DistillationSettings("t", "s", "xs", 300.0, 4.0, 1)
    folder.begin(settings)
    flawed = dark.load_model(f"ase:{FILE}:failing?every=99")
    systems = [System.of(copper())]
    branches = Rounds(flawed, systems, settings, folder, lambda *_: None).sample(200, None)
    assert sum(map(len, branches)) == 200
    assert len(folder.failures()) == 2
    assert "not converged" in folder.failures()[0]
    hopeless = Rounds(dark.load_model(f"ase:{FILE}:failing?every=14"), systems, settings, folder, lambda *_: None)
    with pytest.raises(DarkforcesError, match=r"dynamics for labels failed, the last one as: .*not converged"):
        hopeless.sample(1000, None)
    with pytest.raises(DarkforcesError, match=r"dynamics by which students are judged cannot be run: .*not converged"):
        hopeless.hold_out(100, 10)


def test_held_out_dynamics_begin_anew_where_the_teacher_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The 200th evaluation is in the second piece; from other velocities the dynamics gets through, in one piece."""
    from ipi_darkforces.distillation.folder import DistillationSettings, DistillFolder
    from ipi_darkforces.distillation.rounds import Rounds

    folder, settings = DistillFolder(tmp_path / "folder", "x"), DistillationSettings("t", "s", "xs", 300.0, 4.0, 1)
    folder.begin(settings)
    flawed = dark.load_model(f"ase:{FILE}:failing?every=200")
    for seed in range(45):
        atoms = copper()
        atoms.rattle(0.01, seed=seed)
        flawed.evaluate(atoms, dark.Need.CONSERVATIVE)
    rounds = Rounds(flawed, [System.of(copper())], settings, folder, lambda *_: None)
    with caplog.at_level("WARNING"):
        found = rounds.hold_out(130, 40)
    assert "begins anew, with other velocities: " in caplog.text
    assert "not converged" in caplog.text
    assert len(found) == 130
    moved = np.linalg.norm(np.diff(found.positions, axis=0), axis=2).max(axis=1)
    assert 0.0 < moved.min() < moved.max() < 0.2


def test_a_perfect_student_does_not_heat_and_a_softer_one_does() -> None:
    """The teacher is in equilibrium; the other student has springs that are too soft by a tenth."""
    system = System.of(copper() * (2, 1, 1))
    emt = dark.load_model("ase:ase.calculators.emt:EMT")
    rng = np.random.default_rng(0)
    held_out, _, error = follow(emt, system, 400, temperature=300.0, timestep=4.0, rng=rng, friction_time=None)
    assert error is None
    assert 100.0 < temperature(held_out) < 300.0  # half of it goes into the potential energy

    class Student(dark.ForceModel):
        def __init__(self, factor: float):
            super().__init__("student", dark.Need.ENERGY | dark.Need.DIRECT, None)
            self.factor, self.asked = factor, 0

        def _evaluate(self, structures: Any, need: dark.Need) -> list[dark.Forces]:
            forces = self.factor * held_out.forces[self.asked].astype(float)
            self.asked += 1
            return [dark.Forces(0.0, direct=forces)]

    perfect, soft = judge(Student(1.0), held_out, [2, 8, 16]), judge(Student(0.9), held_out, [2, 8, 16])
    assert perfect.rms < 1e-3
    assert all(abs(each.total.value) < 1e-6 for each in perfect.strides)
    assert soft.relative == pytest.approx(0.1, abs=1e-3)
    assert soft.strides[2].total.value > 10.0 * soft.strides[0].total.value > 0.0
    assert soft.holds
    assert not judge(Student(0.5), held_out, [2]).holds


def test_fixed_atoms_stay_and_multiple_time_stepping_is_the_teachers_dynamics() -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.set_constraint(FixAtoms([0]))
    system = System.of(slab)
    emt = dark.load_model("ase:ase.calculators.emt:EMT")

    class Soft(dark.ForceModel):
        def _evaluate(self, structures: Any, need: dark.Need) -> list[dark.Forces]:
            return [dark.Forces(0.0, direct=0.9 * f.conservative) for f in emt.evaluate(structures)]

    fast = Soft("soft", dark.Need.ENERGY | dark.Need.DIRECT, None, remove_net_force=False)
    runs = [
        follow(
            emt, system, 30, temperature=300.0, timestep=step, rng=np.random.default_rng(1), friction_time=None, **more
        )
        for step, more in ((4.0, {}), (2.0, {"fast": fast, "stride": 2}))
    ]
    (alone, _, _), (split, _, _) = runs
    assert alone.interval == split.interval == 4.0
    assert [error for *_, error in runs] == [None, None]
    for each in (alone, split):
        np.testing.assert_array_equal(each.positions[:, 0], np.broadcast_to(slab.positions[0], (30, 3)))
        assert np.abs(each.positions[-1, 1:] - slab.positions[1:]).max() > 0.01
        for frame in (0, 29):
            expected = emt.evaluate(each.structure(frame), dark.Need.CONSERVATIVE).conservative
            np.testing.assert_allclose(each.forces[frame], expected, atol=1e-5)
    assert np.abs(alone.positions[-1] - split.positions[-1]).max() < 0.02
    slab.set_constraint(FixBondLength(0, 1))
    with pytest.raises(DarkforcesError, match="FixBondLengths is not kept"):
        System.of(slab)


@pytest.fixture
def say(
    monkeypatch: pytest.MonkeyPatch, darkforces: Callable[..., tuple[str, str, int]], tmp_path: Path
) -> Callable[..., Any]:
    """Output of the command in a folder with a structure, with its exit code."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    ase.io.write(tmp_path / "cu.xyz", copper())
    return partial(darkforces, "distill")


def test_the_command_says_what_it_would_cost_and_what_would_be_cheaper(say: Callable[..., Any], tmp_path: Path) -> None:
    emt = ("ase:ase.calculators.emt:EMT", "cu.xyz", "--output", "x", "--timestep", 4)
    out, _, code = say(*emt, "--plan", "--steps", 8)
    assert code == 0
    assert "evaluations of the teacher, " in out
    assert "8 steps of training of " in out
    out, err, code = say(*emt, "--hours", 1e-5)
    assert (out, code) == ("", 1)
    assert "labels take " in err
    assert "Give --hours 1: " in err  # the held-out dynamics alone would take longer
    _, err, code = say(*emt, "--size", "xxl")
    assert (code, err) == (1, "darkforces: error: size 'xxl' is not known: expected xs, s, m\n")
    assert not (tmp_path / "x-distill").exists()
    _, err, code = say("pet-nc", "cu.xyz", "--output", "x")
    assert code == 1
    assert "model 'pet-nc' does not provide conservative forces" in err
    assert not (tmp_path / "x-distill").exists()


def test_as_many_labels_as_there_is_time_for_are_proposed() -> None:
    plan = DistillationPlan(atoms=32, held_out=900, equilibration=100, labels=3000, steps=10, teacher=3.6, step=0.1)
    with pytest.raises(
        DarkforcesError, match="about 16 atoms would do.*--evaluations 1000 instead of 3000, or --hours 4:"
    ):
        check_time(plan, 2.0)
    check_time(plan, 4.0)


def test_the_command_goes_on_with_what_is_there(here: Path, finished: tuple[Path, Distillation], say: Any) -> None:
    arguments = ["--output", "cu-fast", "--size", "xs", "--timestep", 4, "--evaluations", 40, "--steps", 24]
    out, err, code = say(f"ase:{FILE}:emt", "cu.xyz", *arguments, "--folder", here / "folder", "--json")
    assert code == 0, err
    assert json.loads(out)["rms_meV_per_A"] == pytest.approx(finished[1].judgement.rms)
    out, err, code = say(f"ase:{FILE}:emt", "cu.xyz", *arguments, "--folder", here / "folder")
    assert code == 0, err
    assert out.splitlines()[-1].startswith("darkforces run --structure cu.xyz --mts ")


def test_held_out_dynamics_go_on_where_they_were(here: Path) -> None:
    """Pieces follow one another as if nobody had stopped them, and without asking for what is there."""
    whole = Trajectory.joined([Trajectory.read(path) for path in sorted((here / "folder" / "held-out").glob("*.npz"))])
    assert len(whole) == 226
    (here / "folder" / "held-out" / "00001.npz").unlink()  # and what comes after it is made anew too
    emt = teacher()
    dark.distill(emt, copper(), "cu-fast", folder=here / "folder", **SMALL)
    again = Trajectory.joined([Trajectory.read(path) for path in sorted((here / "folder" / "held-out").glob("*.npz"))])
    np.testing.assert_allclose(again.positions, whole.positions, atol=1e-9)
    assert emt.passes.forward < 160
    moved = np.linalg.norm(np.diff(whole.positions, axis=0), axis=2).max(axis=1)
    assert 0.0 < moved.min() < moved.max() < 0.2  # no geometry comes twice, none is left out


def test_labels_of_a_trajectory_that_was_cut_are_not_taken_for_whole(here: Path, finished: Any) -> None:
    labels = next((here / "folder" / "labels").glob("*.npz"))
    assert len(Trajectory.read(labels)) == 20
    labels.write_bytes(labels.read_bytes()[:100])
    with pytest.raises(DarkforcesError, match="holds no labels that can be read"):
        dark.distill(teacher(), copper(), "cu-fast", folder=here / "folder", **SMALL)
