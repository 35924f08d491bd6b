"""The page of an assessment: the verdict, what it rests on, and by which criteria."""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..atomic import writing
from ..errors import printable
from ..stats.estimates import Estimate
from ..stats.html import document, figure, links, mark, table
from ..stats.rows import Row
from .criteria import REASONS, Judgement
from .model_diagnostics import STRIDES_PICTURE, WORK_PICTURE
from .procedure import SimulationResults
from .verdict import Advice, Verdict

if TYPE_CHECKING:
    from .assessment import Assessment

PAGE, SUMMARY = "report.html", "assessment.json"
_KINDS = {Judgement.SAFE: "agrees", Judgement.UNSAFE: "differs", Judgement.UNKNOWN: "unknown", None: "unknown"}
_ADVICE = {
    Advice.DIRECT: ("agrees", "direct forces"),
    Advice.MTS: ("slight", "multiple time stepping"),
    Advice.CONSERVATIVE: ("slight", "conservative forces"),
    Advice.NOTHING: ("differs", "nothing shown safe"),
}
_CAPTIONS = {
    "choices": (
        "Above: by how much NVE simulations heat, with 95 % intervals (open symbols: not known), linear within the "
        "limit, which is shaded, and logarithmic beyond; a stride is judged by its prediction, which its run must not "
        "contradict. Below: wall time of a step of the fast forces, everything "
        "included."
    ),
    "nve": "NVE simulations from the same start, until they are three times too hot.",
    "temperatures": (
        "Temperatures of species with SVR, τ = 10 fs, above that of the thermostat, with 95 % intervals; open symbols "
        "are too short for one."
    ),
}
# Of bulk water, by models of the paper (section 4.3 and appendix D).
_LAMBDA_OF_PAPER = "0.004 for PET-NC, 0.015 for ORB, 0.017 for EquiformerV2 and 0.032 for SOAP-BPNN-NC"
_WORK_OF_PAPER = "132 meV for PET-NC, 15 for ORB, −241 for EquiformerV2 and −410 for SOAP-BPNN-NC"


def write(assessment: Assessment, result: SimulationResults) -> Path:
    """Write pictures, summary and page into the folder of an assessment.

    The page comes last, so that a folder with a page has everything.

    :raises DarkforcesError: if the folder cannot be written
    """
    page = assessment.folder / PAGE
    page.unlink(missing_ok=True)
    drawn = assessment.draw()
    with writing(assessment.folder / SUMMARY) as file:
        file.write_text(json.dumps(assessment.as_json(), indent=2) + "\n", encoding="utf-8")
    with writing(page) as file:
        file.write_text(_page(assessment, result, drawn), encoding="utf-8")
    return page


def _page(assessment: Assessment, result: SimulationResults, drawn: list[str]) -> str:
    plan, folder = assessment.plan, assessment.folder
    name = printable(Path(plan.model).name)
    title = f"Is {name} safe to run with direct forces?"
    how = f"; {assessment.loading.in_words}" if assessment.loading.in_words else ""
    machine = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    body = [
        f"<header><h1>{escape(title)}</h1><p>{escape(assessment.formula)} ({escape(printable(plan.structure.name))}), "
        f"{plan.temperature:g} K, {plan.timestep:g} fs{escape(printable(how))}.</p></header>",
        _verdict(assessment.verdict, assessment.command),
        _choices(assessment, drawn, folder),
        _forces(assessment, folder),
        _criteria(),
        f"<footer><p>Wall times are from simulations one after another on this machine: {escape(machine)}. Velocities "
        "were drawn at random; the first fifth of an NVE simulation, and as much of the others, does not count.</p>"
        f"<p>Made by <code>darkforces assess</code> {escape(__version__)}, {datetime.now():%-d %B %Y, %H:%M}. The "
        "numbers behind this page are beside it: assessment.json; the simulations are in runs, to be looked at with "
        "<code>darkforces analyze</code>.</p></footer>",
    ]
    return document(title, body)


def _verdict(verdict: Verdict, command: str | None) -> str:
    paragraphs = "".join(f"<p>{escape(printable(each))}</p>" for each in verdict.text)
    if command is not None:
        paragraphs += f"<p><code>{escape(printable(command))}</code></p>"
    advised = mark(*_ADVICE[verdict.advice])
    return f"<section><h2>{advised} {escape(printable(verdict.headline))}</h2>{paragraphs}</section>"


def _choices(assessment: Assessment, drawn: list[str], folder: Path) -> str:
    parts = ["<section><h2>Ways to use its forces</h2>", table(assessment.rows())]
    for each in assessment.judged:
        name = each.choice.name
        items = (
            f"<li>{mark(_KINDS[reason.judgement], (reason.judgement or Judgement.UNKNOWN).value)}"
            f"<span>{escape(reason.text)}</span></li>"
            for reason in each.reasons
        )
        parts.append(f"<h3>{escape(name[0].upper() + name[1:])}</h3><ul>{''.join(items)}</ul>")
    for picture in drawn:
        parts += [figure(folder / f"{picture}.png", picture, _CAPTIONS[picture]), links([f"{picture}.pdf"])]
    parts += _strides(assessment, folder)
    return "\n".join([*parts, "</section>"])


def _strides(assessment: Assessment, folder: Path) -> list[str]:
    found = assessment.strides
    if not found:
        return []
    if "missing" in found:
        return ["<h3>Strides</h3>", f"<p>Nothing is predicted of them: {escape(printable(found['missing']))}.</p>"]
    caption = (
        f"Heating of every stride, predicted from {found['picoseconds']:g} ps with conservative forces, with 95 % "
        "intervals; and the spectrum that it comes from, where impulses of a stride act at the dotted lines and their "
        "multiples."
    )
    return [
        "<h3>Strides</h3>",
        figure(folder / f"{STRIDES_PICTURE}.png", "strides", caption),
        links([f"{STRIDES_PICTURE}.pdf"]),
    ]


def _forces(assessment: Assessment, folder: Path) -> str:
    found, work = assessment.asymmetry, assessment.work
    rows: list[Row] = [{"atoms": "all", "λ": _estimate(found["lambda"])}]
    rows += [{"atoms": symbol, "λ": _estimate(value)} for symbol, value in found["elements"].items()]
    parts = [
        "<section><h2>The direct forces themselves</h2>",
        "<p>These say how far direct forces are from being the gradient of an energy. They decide nothing here, as "
        "what they do to a simulation depends on the system.</p>",
        "<h3>Asymmetry of their Jacobian</h3>",
        f'<p class="lead">λ is 0 for conservative forces. For the models of the paper: {_LAMBDA_OF_PAPER}.</p>',
        table(rows),
        "<h3>Work along a closed path</h3>",
    ]
    if "missing" in work:
        parts.append(f"<p>Not measured: {escape(work['missing'])}.</p>")
    else:
        works: list[Row] = [
            {"forces": kind, "work / meV": Estimate(value, work["error_meV"][kind])}
            for kind, value in work["work_meV"].items()
        ]
        caption = f"{printable(work['path'])}. For the models of the paper, on another path: {_WORK_OF_PAPER}."
        parts += [table(works), figure(folder / f"{WORK_PICTURE}.png", "work along a closed path", caption)]
        parts.append(links([f"{WORK_PICTURE}.pdf"]))
    return "\n".join([*parts, "</section>"])


def _estimate(value: dict[str, float]) -> Estimate:
    return Estimate(value["value"], value["error"])


def _criteria() -> str:
    items = "".join(f"<h3>{escape(what)}</h3><p>{escape(why)}</p>" for what, why in REASONS.items())
    return (
        "<section><h2>What counts as safe</h2><p>By 95 % intervals; what these do not decide is not known. A stride is "
        f"tried only if all shorter ones are predicted to be safe too.</p>{items}</section>"
    )
