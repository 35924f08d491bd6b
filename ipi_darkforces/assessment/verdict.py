"""The verdict on a model: in plain words, and as an exit code for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ..campaign.statements import shown
from .choices import Choice
from .criteria import HEATING, Judged, Judgement
from .strides import Strides


class Advice(IntEnum):
    """Advice on how to run a model; the numbers are exit codes. 1 is an error and 2 a wrong option, as everywhere."""

    DIRECT = 0
    MTS = 10
    CONSERVATIVE = 11
    NOTHING = 12


@dataclass(frozen=True)
class Verdict:
    """The advice, with its reasons.

    :param advice: in one word
    :param choice: what to use; None if nothing is shown to be safe
    :param headline: the advice, in a sentence
    :param text: why, what it saves, and what is not known
    """

    advice: Advice
    choice: Choice | None
    headline: str
    text: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """JSON values."""
        return {
            "advice": self.advice.name.lower(),
            "exit_code": int(self.advice),
            "forces": self.choice.forces if self.choice else None,
            "stride": self.choice.stride if self.choice else None,
            "headline": self.headline,
            "text": list(self.text),
        }


def needs_stride(judged: Sequence[Judged]) -> bool:
    """Tell whether multiple time stepping is worth trying: direct forces are not safe, and conservative ones may be."""
    unwanted = {"direct": Judgement.SAFE, "conservative": Judgement.UNSAFE}
    return all(each.judgement is not unwanted.get(each.choice.forces) for each in judged)


def may_be_safe(judged: Sequence[Judged], stride: int) -> bool:
    """Tell whether nothing that is known of a stride is against it."""
    return all(each.judgement is not Judgement.UNSAFE for each in judged if each.choice.stride == stride)


def decide(model: str, judged: Sequence[Judged], strides: Strides | None, temperature: float) -> Verdict:
    """The advice: direct forces if they are safe, or a safe stride, or conservative forces.

    Multiple time stepping is not advised where conservative forces, which it imitates, are unsafe.

    :param judged: all choices, of which one is direct forces
    :param strides: what is predicted of strides; None if nothing is
    :param temperature: K
    """
    by_forces = {each.choice.forces: each for each in judged}
    direct, conservative = by_forces["direct"], by_forces.get("conservative")
    safe = next((each for each in judged if each.choice.stride and each.judgement is Judgement.SAFE), None)
    longest = max(each.choice.nve for each in judged)
    text = [_reasons(direct)]
    choice: Choice | None = None
    if direct.judgement is Judgement.SAFE:
        advice, choice = Advice.DIRECT, direct.choice
        headline = f"{model} can be run with its direct forces, as far as {longest:.2g} ps show."
    elif conservative is None:
        advice = Advice.NOTHING
        unsafe = direct.judgement is Judgement.UNSAFE
        headline = (
            f"{model} cannot be run: its direct forces are not safe, and it has no others."
            if unsafe
            else f"Whether {model} can be run is not known: {longest:.2g} ps are too short, and it has no other forces."
        )
        text.append("A model with an energy too has conservative forces, and allows multiple time stepping.")
    elif conservative.judgement is Judgement.UNSAFE or (safe is None and conservative.judgement is Judgement.UNKNOWN):
        advice = Advice.NOTHING
        headline = f"Nothing that was tried with {model} is shown to be safe."
        text.append(_reasons(conservative))
        text += _why_not_even_conservative(conservative)
    else:
        choice = safe.choice if safe else conservative.choice
        advice = Advice.MTS if safe else Advice.CONSERVATIVE
        headline = f"{_instead(direct)}: run {model} with {choice.name}, which is safe as far as {longest:.2g} ps show."
        text += _strides(judged, safe)
        text += _predictions(strides, choice.stride or 1, HEATING * temperature)
    if choice is not None:
        text += _savings(choice, conservative.choice if conservative else None)
    text.append(
        f"All this is from {longest:.2g} ps without a thermostat: what takes longer to go wrong is not seen, and "
        "longer runs can still fail. Watch the conserved quantity of production runs."
    )
    return Verdict(advice, choice, headline, tuple(text))


def _reasons(judged: Judged) -> str:
    """Tell whether it is safe, and why."""
    name = f"M = {judged.choice.stride}" if judged.choice.stride else judged.choice.name
    are = "is" if judged.choice.stride else "are"
    advice = {
        Judgement.SAFE: f"{name} {are} safe.",
        Judgement.UNSAFE: f"{name} {are} not safe.",
        Judgement.UNKNOWN: f"whether {name} {are} safe is not known.",
    }[judged.judgement]
    return " ".join([advice[0].upper() + advice[1:], *(reason.text for reason in judged.reasons)])


def _instead(direct: Judged) -> str:
    if direct.judgement is Judgement.UNSAFE:
        return "Not with direct forces alone"
    return "Direct forces alone are not shown to be safe"


def _why_not_even_conservative(conservative: Judged) -> Iterator[str]:
    if conservative.judgement is Judgement.UNSAFE:
        yield (
            "If conservative forces do not conserve energy, the time step is too long, the structure is far from "
            "equilibrium or from what the model knows, or its energy is not smooth: try a shorter time step first."
        )
    else:
        yield "Longer simulations can tell: the same command goes on with --thorough, or with a longer --time."


def _strides(judged: Sequence[Judged], safe: Judged | None) -> Iterator[str]:
    """Reasons for this stride, and against others that were tried."""
    tried = [each for each in judged if each.choice.stride and each is not safe]
    yield from (_reasons(each) for each in ([safe] if safe else []) + tried)
    if safe is None:
        yield (
            "Strides are longer for models whose two kinds of force agree better: training with both, or more of it, "
            "may help."
        )


def _predictions(strides: Strides | None, stride: int, limit: float) -> Iterator[str]:
    """Excess of temperature that is expected with a stride, and the heating of the next one, if it is too much.

    :param limit: K/ps
    """
    if strides is None:
        yield "Nothing is predicted of strides: see the page."
        return
    if stride in strides.heating:
        rate = strides.heating[stride]
        excess = {name: shown(rate.times(time), "K") for name, time in strides.excess_times.items()}
        yield (
            f"Expected with M = {stride}: {shown(rate, 'K/ps')} without a thermostat; above the target of one with "
            f"τ = {strides.tau:g} fs {excess['langevin']} (Langevin), {excess['svr']} (SVR), {excess['gle']} (GLE)."
        )
    following = strides.heating.get(stride + 1)
    if following is not None and not strides.is_within(stride + 1, limit):
        yield (
            f"M = {stride + 1} is predicted to heat by {shown(following, 'K/ps')}, where {limit:.2g} K/ps is the limit "
            f"(from {strides.time:g} ps with conservative forces)."
        )


def _savings(choice: Choice, conservative: Choice | None) -> Iterator[str]:
    """The time that a choice saves, if it is known and not the conservative forces themselves."""
    if conservative is None or choice is conservative or not choice.milliseconds or not conservative.milliseconds:
        return
    part = choice.milliseconds / conservative.milliseconds
    steps = f"{choice.milliseconds:.3g} ms a step instead of {conservative.milliseconds:.3g}"
    if part < 1.0:
        yield f"It saves {1.0 - part:.0%} of the time of conservative forces on this machine: {steps}."
    else:
        yield f"It saves nothing on this machine ({steps}): conservative forces are as good."
