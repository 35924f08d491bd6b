"""Criteria and verdicts, from findings that are made up."""

from __future__ import annotations

import pytest

from ipi_darkforces.assessment.choices import Choice
from ipi_darkforces.assessment.criteria import Judged, Judgement, judged
from ipi_darkforces.assessment.strides import Strides
from ipi_darkforces.assessment.verdict import Advice, Verdict, decide
from ipi_darkforces.stats.estimates import Estimate

NONE = Estimate(0.1, 0.2)
PAPER = Estimate(7.0, 0.2)  # K/ps
NOISY = Estimate(1.0, 4.0)
EVEN = Estimate(0.5, 1.0)
UNEVEN = Estimate(14.3, 1.0)  # K
PACE = {"conservative": 20.0, "direct": 8.0, "mts2": 14.0, "mts4": 11.0, "mts8": 10.0, "mts16": 9.0}


def choice(
    forces: str,
    heating: Estimate | None = NONE,
    inequality: Estimate | None = None,
    exploded: str | None = None,
    predicted: Estimate | None = None,
) -> Choice:
    stride = int(forces[3:]) if forces.startswith("mts") else None
    svr = None if inequality is None else 2.0
    return Choice(
        forces, stride, 1.0, svr, exploded, None, None, heating, predicted, None, PACE[forces], {}, inequality
    )


def judge(*choices: Choice, species: tuple[str, str] = ("O", "H")) -> list[Judged]:
    return [judged(each, species, 300.0) for each in choices]


def verdict(*choices: Choice, strides: Strides | None = None) -> Verdict:
    return decide("pet", judge(*choices), strides, 300.0)


@pytest.mark.parametrize(
    ("made", "expected", "said"),
    [
        (choice("direct", NONE, EVEN), Judgement.SAFE, "energy is shared evenly"),
        (choice("direct", PAPER, EVEN), Judgement.UNSAFE, "heats by 7.00 ± 0.20 K/ps; the limit is 3 K/ps"),
        (choice("direct", PAPER.times(-1.0), EVEN), Judgement.UNSAFE, "cools by 7.00 ± 0.20 K/ps"),
        (choice("direct", NONE, UNEVEN), Judgement.UNSAFE, "T(O) − T(H) = 14.3 ± 1.0 K: equipartition is violated"),
        (choice("direct", NONE, UNEVEN.times(-1.0)), Judgement.UNSAFE, "equipartition is violated"),
        (choice("direct", NOISY, EVEN), Judgement.UNKNOWN, "1 ps of NVE are too short to know"),
        (choice("direct", Estimate(0.1, None), EVEN), Judgement.UNKNOWN, "too short for an error bar"),
        (choice("direct", None, EVEN), Judgement.UNKNOWN, "Nothing is known of its heating"),
        (choice("direct", NONE, Estimate(2.0, 20.0)), Judgement.UNKNOWN, "too short to know whether energy is shared"),
        (choice("direct", NONE), Judgement.UNKNOWN, "takes 20 ps with a thermostat to see"),
        (choice("direct", NOISY, UNEVEN), Judgement.UNSAFE, "equipartition is violated"),
        (choice("direct", NONE, exploded="SVR explodes after 0.3 ps"), Judgement.UNSAFE, "SVR explodes after 0.3 ps."),
        (choice("conservative"), Judgement.SAFE, "within the limit of 3 K/ps"),
        (choice("mts4"), Judgement.SAFE, "within the limit of 3 K/ps"),
        (choice("mts4", NONE, Estimate(2.0, 20.0)), Judgement.SAFE, "too short to know whether energy is shared"),
        (choice("mts4", NONE, UNEVEN), Judgement.UNSAFE, "equipartition is violated"),
        (choice("mts4", NONE, Estimate(-8.7, 2.7)), Judgement.SAFE, "too short to know whether energy is shared"),
        (choice("direct", NONE, Estimate(-8.7, 2.7)), Judgement.UNSAFE, "equipartition is violated"),
        (choice("mts4", PAPER), Judgement.UNSAFE, "the limit is 3 K/ps"),
        (choice("mts4", NOISY, predicted=NONE), Judgement.SAFE, "By prediction it heats by 0.10 ± 0.20 K/ps"),
        (choice("mts4", NOISY, predicted=PAPER), Judgement.UNSAFE, "By prediction it heats by 7.00 ± 0.20 K/ps"),
        (choice("mts4", NONE, predicted=NOISY), Judgement.UNKNOWN, "By prediction it heats by 1.0 ± 4.0 K/ps"),
        (choice("mts4", PAPER, predicted=NONE), Judgement.UNSAFE, "In 1 ps of NVE it heats by 7.00 ± 0.20 K/ps"),
    ],
)
def test_criteria(made: Choice, expected: Judgement, said: str) -> None:
    [result] = judge(made)
    assert result.judgement is expected
    assert said in " ".join(reason.text for reason in result.reasons)


def test_one_species_has_nothing_to_share_energy_with() -> None:
    [result] = judge(choice("direct"), species=("Ar", "Ar"))
    assert result.judgement is Judgement.SAFE
    assert len(result.reasons) == 1


def test_the_limit_grows_with_the_temperature() -> None:
    assert judged(choice("conservative", PAPER), ("O", "H"), 1000.0).judgement is Judgement.SAFE


def test_direct_forces_that_are_safe_are_advised() -> None:
    found = verdict(choice("conservative"), choice("direct", NONE, EVEN), choice("mts2"))
    assert (found.advice, found.advice.value, found.choice and found.choice.forces) == (Advice.DIRECT, 0, "direct")
    assert "can be run with its direct forces, as far as 1 ps show" in found.headline
    assert any("saves 60% of the time" in text for text in found.text)
    assert "longer runs can still fail" in found.text[-1]


STRIDES = Strides(
    {4: Estimate(0.5, 0.1), 5: Estimate(7.0, 0.3)}, {"langevin": 0.1, "svr": 0.2, "gle": 0.04}, 100.0,
    2.0,
)  # fmt: skip


def test_the_stride_that_was_confirmed_is_advised_and_others_are_named() -> None:
    found = verdict(
        choice("conservative"),
        choice("direct", PAPER, UNEVEN),
        choice("mts8", exploded="NVE explodes after 0.3 ps", predicted=NONE),
        choice("mts4", NONE, EVEN, predicted=STRIDES.heating[4]),
        strides=STRIDES,
    )
    assert (found.advice, found.advice.value, found.choice and found.choice.stride) == (Advice.MTS, 10, 4)
    assert "Not with direct forces alone: run pet with multiple time stepping with M = 4" in found.headline
    assert any(text.startswith("Direct forces are not safe.") for text in found.text)
    assert any(text.startswith("M = 8 is not safe. NVE explodes after 0.3 ps.") for text in found.text)
    [expected] = [text for text in found.text if text.startswith("Expected with M = 4")]
    assert "0.50 ± 0.10 K/ps without a thermostat" in expected
    assert "0.050 ± 0.010 K (Langevin), 0.100 ± 0.020 K (SVR), 0.0200 ± 0.0040 K (GLE)" in expected
    assert any(text.startswith("M = 5 is predicted to heat by 7.00 ± 0.30 K/ps") for text in found.text)
    assert any("saves 45% of the time of conservative forces on this machine: 11 ms" in text for text in found.text)


def test_a_stride_that_is_not_known_is_not_advised() -> None:
    found = verdict(choice("conservative"), choice("direct", PAPER), choice("mts2", NOISY))
    assert (found.advice, found.advice.value) == (Advice.CONSERVATIVE, 11)
    assert found.choice is not None
    assert found.choice.forces == "conservative"
    assert any(text.startswith("Whether M = 2 is safe is not known.") for text in found.text)
    assert not any("saves" in text for text in found.text)


def test_what_is_not_known_of_direct_forces_is_not_called_unsafe() -> None:
    found = verdict(choice("conservative"), choice("direct", NONE, Estimate(0.0, 20.0)), choice("mts2"))
    assert found.advice is Advice.MTS
    assert found.headline.startswith("Direct forces alone are not shown to be safe: run pet with")
    assert found.text[0].startswith("Whether direct forces are safe is not known.")


@pytest.mark.parametrize(
    ("conservative", "said"),
    [
        (choice("conservative", PAPER), "try a shorter time step first"),
        (choice("conservative", NOISY), "Longer simulations can tell"),
        (choice("conservative", exploded="NVE explodes after 0.1 ps"), "try a shorter time step first"),
    ],
)
def test_without_conservative_forces_that_are_safe_nothing_is(conservative: Choice, said: str) -> None:
    found = verdict(conservative, choice("direct", PAPER), choice("mts2", NOISY))
    assert (found.advice, found.advice.value, found.choice) == (Advice.NOTHING, 12, None)
    assert any(said in text for text in found.text)


def test_a_stride_is_not_better_than_the_forces_that_it_imitates() -> None:
    assert verdict(choice("conservative", PAPER), choice("direct", PAPER), choice("mts2")).advice is Advice.NOTHING
    assert verdict(choice("conservative", NOISY), choice("direct", PAPER), choice("mts2")).advice is Advice.MTS


@pytest.mark.parametrize(
    ("heating", "said"),
    [(PAPER, "cannot be run: its direct forces are not safe"), (NOISY, "Whether pet can be run is not known")],
)
def test_a_model_with_direct_forces_alone(heating: Estimate, said: str) -> None:
    found = verdict(choice("direct", heating, EVEN))
    assert found.advice is Advice.NOTHING
    assert said in found.headline
    assert any("A model with an energy too" in text for text in found.text)
    assert verdict(choice("direct", NONE, EVEN)).advice is Advice.DIRECT


def test_what_saves_nothing_is_said() -> None:
    slow = Choice("mts2", 2, 1.0, heating=NONE, milliseconds=21.0)
    found = verdict(choice("conservative"), choice("direct", PAPER), slow)
    assert found.advice is Advice.MTS
    assert any("It saves nothing on this machine (21 ms a step instead of 20)" in text for text in found.text)
