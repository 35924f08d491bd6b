"""Criteria for safe forces, with their reasons; there are no others.

All are judged by 95 % intervals: what the interval does not decide is not known. λ and the work along a closed path are
measured and reported, but decide nothing: by how much they make a simulation wrong depends on the system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..analysis.temperatures import EXCHANGED
from ..campaign.statements import judge, shown
from ..stats.estimates import Estimate
from .choices import Choice

# Of the temperature, in a ps: how much an NVE simulation may heat or cool.
HEATING = 0.01
# Of the temperature: differences between species that are certainly larger than the first violate equipartition, and
# those that are certainly smaller than the second do not. With multiple time stepping the second decides both.
UNEQUAL = 0.01
EQUAL = 0.03

REASONS = {
    "It does not explode.": (
        "A simulation at ten times its temperature, or with forces that are NaN, is beyond repair. What has not "
        "exploded in the time simulated can still do so later."
    ),
    f"NVE heats or cools by less than {HEATING:.0%} of the temperature in a ps.": (
        "Measured by the conserved quantity, as if all of it went into classical vibrations (3 k_B for each atom). A "
        "thermostat with time constant τ holds forces that heat by r at r τ (Langevin) or 2 r τ (SVR) above its "
        "target: 1 % too hot at this limit for τ = 1 or 0.5 ps. The paper's direct forces heat by 7 K/ps at 300 K, "
        "more than twice this limit, and were 12.8 K too hot with τ = 1 ps and 1.4 K with τ = 0.1 ps (table 2). "
        "Strides of multiple time stepping are judged by the heating that is predicted from one run under conservative "
        "forces, which a run of the stride itself must not contradict."
    ),
    f"With SVR, τ = 10 fs, temperatures of the heaviest and the lightest species differ by less than {EQUAL:.0%}.": (
        "Equipartition. A global thermostat hides heating, but not that it is unevenly shared: 14 K, or 5 %, between "
        f"O and H with the paper's direct forces (table 7). Direct forces that differ by certainly more than "
        f"{UNEQUAL:.0%} violate it, and it must be known that they do not. Multiple time stepping fails only if it is "
        f"certainly more than {EQUAL:.0%}: it samples what conservative forces do, up to errors that the conserved "
        "quantity shows earlier. Species exchange energy so slowly that simulations of less than 20 ps decide nothing, "
        "and are not run."
    ),
}


class Judgement(Enum):
    """The judgement on a way to use the forces."""

    SAFE = "safe"
    UNSAFE = "not safe"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Reason:
    """The outcome of one criterion; None where it does not decide."""

    text: str
    judgement: Judgement | None


@dataclass(frozen=True)
class Judged:
    """A choice, judged by each criterion.

    :param reasons: one for each criterion that was looked at
    """

    choice: Choice
    reasons: tuple[Reason, ...]

    @property
    def judgement(self) -> Judgement:
        """Safe only if nothing is left to know."""
        judgements = [reason.judgement for reason in self.reasons]
        return next((each for each in (Judgement.UNSAFE, Judgement.UNKNOWN) if each in judgements), Judgement.SAFE)

    def as_json(self) -> dict[str, object]:
        """JSON values."""
        return {
            **self.choice.as_json(),
            "judgement": self.judgement.value,
            "reasons": [reason.text for reason in self.reasons],
        }


def judged(choice: Choice, species: Sequence[str], temperature: float) -> Judged:
    """Judge a choice by all criteria.

    :param species: the heaviest and the lightest one; the same if there is only one
    :param temperature: K, of the simulations
    """
    if choice.exploded:
        return Judged(choice, (Reason(f"{choice.exploded}.", Judgement.UNSAFE),))
    reasons = [_heating(choice, temperature)]
    if choice.predicted is not None:
        reasons = [_predicted(choice.predicted, temperature), _confirmed(reasons[0])]
    if species[0] != species[1] and (choice.svr is not None or choice.forces == "direct"):
        reasons.append(_equipartition(choice, species, temperature))
    return Judged(choice, tuple(reasons))


def _heating(choice: Choice, temperature: float) -> Reason:
    limit = HEATING * temperature
    slope, length = choice.heating, f"{choice.nve:.2g} ps of NVE"
    if slope is None or not math.isfinite(slope.value):
        return Reason(f"Nothing is known of its heating after {length}.", Judgement.UNKNOWN)
    heats = f"{'heats' if slope.value > 0.0 else 'cools'} by {shown(slope.times(1 if slope.value > 0 else -1), 'K/ps')}"
    found = judge(slope, limit, tolerance=limit)
    if found is None:
        return Reason(
            f"NVE {heats}; {length} are too short to know whether that is below the limit of {limit:.2g} K/ps.",
            Judgement.UNKNOWN,
        )
    if found == "none":
        return Reason(f"In {length} it {heats}, within the limit of {limit:.2g} K/ps.", Judgement.SAFE)
    return Reason(f"In {length} it {heats}; the limit is {limit:.2g} K/ps.", Judgement.UNSAFE)


def _predicted(heating: Estimate, temperature: float) -> Reason:
    limit = HEATING * temperature
    text = f"By prediction it heats by {shown(heating, 'K/ps')}; the limit is {limit:.2g} K/ps."
    found = judge(heating, limit, tolerance=limit)
    return Reason(text, {None: Judgement.UNKNOWN, "none": Judgement.SAFE}.get(found, Judgement.UNSAFE))


def _confirmed(measured: Reason) -> Reason:
    """The measured heating beside a predicted one: it can contradict, but need not be known."""
    return Reason(measured.text, None) if measured.judgement is Judgement.UNKNOWN else measured


def _equipartition(choice: Choice, species: Sequence[str], temperature: float) -> Reason:
    heavy, light = species
    unknown = Judgement.UNKNOWN if choice.forces == "direct" else None
    if choice.svr is None:
        return Reason(
            f"Whether it shares energy evenly between {heavy} and {light} takes {EXCHANGED:g} ps with a thermostat to "
            "see: --thorough, or a longer --time.",
            unknown,
        )
    if choice.inequality is None:
        return Reason("Nothing is known of how it shares energy between species.", unknown)
    length = f"{choice.svr:.2g} ps of SVR"
    difference = f"T({heavy}) − T({light}) = {shown(choice.inequality, 'K')}"
    unequal = UNEQUAL if choice.forces == "direct" else EQUAL
    found = judge(choice.inequality, EQUAL * temperature, tolerance=unequal * temperature)
    if found is None:
        return Reason(
            f"In {length} {difference}: too short to know whether energy is shared evenly, to {EQUAL * temperature:.2g}"
            " K.",
            unknown,
        )
    if found == "none":
        return Reason(f"In {length} {difference}: energy is shared evenly.", Judgement.SAFE)
    return Reason(f"In {length} {difference}: equipartition is violated.", Judgement.UNSAFE)
