"""The document of a campaign: Markdown, with tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..analysis import drift
from ..analysis.temperatures import ALL
from ..atomic import write_atomically
from ..errors import DarkforcesError, printable
from ..models.registry.kinds import specified
from ..models.registry.options import Loading
from ..models.structure_file import read_atoms
from ..stats.estimates import Estimate
from . import paper, pictures
from .findings import Finding, Findings
from .folder import Ended
from .matrix import Campaign
from .measured import Measured
from .statements import explosion, in_paper, minus, ratio, statements

_MARK = "<!-- Written by darkforces campaign: what is changed here is lost. -->"
_KINDS = {"conservative": "Conservative forces", "direct": "Direct forces", "mts": "Multiple time stepping"}


def check_writable(path: Path) -> None:
    """Raise a DarkforcesError if there is something at `path` that is no document of ours."""
    if path.is_dir() or not path.parent.is_dir():
        raise DarkforcesError(f"'{path}' cannot be written: it is a folder, or there is no folder '{path.parent}'")
    if path.exists() and not path.read_text(errors="replace").startswith(_MARK):
        raise DarkforcesError(f"'{path}' exists and was not written by darkforces campaign; choose another --document")


def write(
    campaign: Campaign,
    loading: Loading,
    measured: Sequence[Measured],
    found: Sequence[Findings],
    failed: dict[str, str],
    path: Path,
) -> None:
    """Write the document, and its pictures to the folder ``figures`` beside it.

    :param loading: options with which models were loaded
    :param measured: all simulations that have ended
    :param found: what they say, model by model
    :param failed: why others have not, by their names
    :param path: of the document
    """
    parts = [_MARK, f"# Campaign {printable(campaign.name)}: what the paper's simulations say with our models"]
    parts += _introduction(campaign, loading, [each.ended for each in measured])
    for findings in found:
        parts += _model(findings, campaign, path.parent / "figures")
    parts += _strides(found, path.parent / "figures")
    if failed:
        parts += ["## What did not run", "\n".join(f"- {name}: {printable(why)}" for name, why in failed.items())]
    notes: dict[str, list[str]] = {}
    for each in measured:
        for text in each.notes:
            notes.setdefault(text, []).append(each.simulation.name)
    if notes:
        parts += [
            "## What must be known",
            "\n".join(f"- {printable(text)} ({_listed(names)})" for text, names in notes.items()),
        ]
    write_atomically(path, "\n\n".join(parts) + "\n")


def _introduction(campaign: Campaign, loading: Loading, ended: Sequence[Ended]) -> Iterator[str]:
    atoms = read_atoms(campaign.structure, "structure")
    models = ", ".join(
        f"`{printable(Path(model).name)}` (weights {specified(model).fingerprint()})" for model in campaign.models
    )
    models += f" ({loading.in_words})" if loading.in_words else ""
    total = sum(each.picoseconds for each in ended)
    yield (
        f"{len(ended)} of {len(campaign.simulations)} simulations of {atoms.get_chemical_formula()} at "
        f"{campaign.temperature:g} K with {models}, {total:.4g} ps in all. The time step is {campaign.timestep:g} fs "
        f"for the fast forces; the first {campaign.discard:g} ps of each do not count. All start from the same "
        "positions, each seed with velocities of its own."
    )
    machines = dict.fromkeys(", ".join(f"{key} {value}" for key, value in each.machine.items()) for each in ended)
    seconds = sum(each.seconds for each in ended)
    yield f"Machine: {'; '.join(machines)}. Wall times of the simulations add up to {_duration(seconds)}."
    yield (
        "Errors are standard errors that account for time correlation, from within the simulations and, where these do "
        "not know them or differ by more, from between the seeds. The first ps of all seeds, from the same positions, "
        "is one sample. `± ?`: too short for an error bar. Verdicts are by 95 % intervals. The paper is "
        "[Bigi, Langer, Ceriotti, ICML 2025](https://arxiv.org/abs/2412.11569); its numbers are for its own models of "
        "liquid water, trained on other data, at 300 K: that ours differ in size "
        "is expected, and whether they differ in kind is what is asked."
    )


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60.0), 60)
    return f"{hours} h {minutes} min" if hours else f"{seconds / 60.0:.1f} min"


def _model(findings: Findings, campaign: Campaign, folder: Path) -> Iterator[str]:
    drawn = pictures.draw(findings, folder)
    yield f"## Model {findings.model}"
    yield "### What holds"
    yield _table(
        ["the paper says", "here", "paper", "verdict"],
        [[each.claim, each.ours, each.paper, f"**{each.verdict}**"] for each in statements(findings)],
    )
    if findings.with_ensemble("nve"):
        yield "### Does it heat? (paper: figures 2, 6, 11)"
        yield _nve_table(findings)
        yield from _picture(drawn, "nve", folder, "First seed of each; what is three times too hot is left out.")
    if findings.thermostatted:
        yield "### What thermostats make of it (paper: tables 2 and 7)"
        yield "Temperature above the target, of all atoms and of each species, in K."
        yield _temperature_table(findings)
        yield from _picture(drawn, "temperatures", folder, "95 % intervals; open symbols are too short for one.")
        yield "### How atoms move (paper: figure 3)"
        yield _diffusion_table(findings)
        for kind, caption in _KINDS.items():
            yield from _picture(drawn, f"motion-{kind}", folder, f"{caption}, and conservative forces to compare with.")
        yield "### How atoms are arranged (paper: figures 8 and 12)"
        yield "Left: functions of distance; right: differences to the first. Two standard errors are shaded."
        for kind, caption in _KINDS.items():
            yield from _picture(drawn, f"structure-{kind}", folder, f"{caption}.")
    yield "### What it costs"
    yield _cost_table(findings, campaign)


def _picture(drawn: dict[str, str], what: str, folder: Path, caption: str) -> Iterator[str]:
    if what in drawn:
        yield f"![{what}]({folder.name}/{drawn[what]})"
        yield f"*{caption}*"


def _nve_table(findings: Findings) -> str:
    rows = []
    for finding in findings.with_ensemble("nve"):
        drifts = drift.columns(
            finding.temperature_slope, finding.conserved_slope, finding.heating, finding.relative_slope
        )
        shown = {title: _shown(each) for title, each in drifts.items()}
        first = next(iter(shown))
        rows.append(
            {
                "NVE": finding.condition.forces,
                **shown,
                first: explosion(finding) or shown[first],
                "f_C − f_NC / (meV/Å), rms": _shown(finding.rms_difference),
                "paper / (K/ps)": _paper_drift(finding),
            }
        )
    return _table(list(rows[0]), [list(row.values()) for row in rows])


def _strides(found: Sequence[Findings], folder: Path) -> Iterator[str]:
    """Compare the strides of all models, if several were run with multiple time stepping."""
    nve = {findings.model: findings.with_ensemble("nve") for findings in found}
    chosen = {model: [each for each in of_model if each.condition.stride] for model, of_model in nve.items()}
    chosen = {model: of_model for model, of_model in chosen.items() if of_model}
    if len(chosen) < 2:
        return
    all_findings = [finding for of_model in chosen.values() for finding in of_model]
    every = sorted({finding.condition.stride for finding in all_findings if finding.condition.stride})
    pictures.draw_strides(all_findings, every, folder / "strides.png")
    yield "## Drift, stride and the difference between both kinds of forces"
    yield "NVE; drift of the conserved quantity in meV/atom/ps, for each stride M."
    rows = []
    for model, of_model in chosen.items():
        by_stride = {finding.condition.stride: finding for finding in of_model}
        shown = [by_stride.get(stride) for stride in every]
        drifts = ["–" if each is None else explosion(each) or _shown(each.conserved_slope) for each in shown]
        rows.append([model, _shown(of_model[0].rms_difference), *drifts])
    titles = ["model", "f_C − f_NC, meV/Å (rms)", *(f"M = {stride}" for stride in every)]
    yield _table(titles, rows)
    yield f"![strides]({folder.name}/strides.png)"
    yield "*95 % intervals; linear between −0.1 and 0.1. What exploded is left out.*"


def _paper_drift(finding: Finding) -> str:
    if finding.condition.forces == "direct":
        return f"{paper.HEATING:g}"
    return "none" if (finding.condition.stride or 1) <= paper.LARGEST_STABLE_STRIDE else "large, unstable"


def _temperature_table(findings: Findings) -> str:
    first = findings.thermostatted[0]
    species = first.species[1:]
    titles = [f"Δ{name}" for name in [ALL, *species]]
    difference = [f"{species[0]} − {species[1]}"] if species else []
    rows = []
    for finding in findings.thermostatted:
        theirs = paper.EXCESS.get((finding.condition.thermostat, finding.condition.forces), {})
        row = [finding.condition.thermostat, finding.condition.forces]
        above = finding.excesses()
        row += [explosion(finding) or _shown(above[ALL]), *(_shown(above[name]) for name in species)]
        row += [_shown(finding.if_exchanged(finding.inequality))] if species else []
        row += [in_paper(theirs.get(name)) for name in [ALL, *species]]
        row += [in_paper(minus(theirs.get("O"), theirs.get("H")))] if species else []
        rows.append(row)
    columns = titles + difference
    return _table(["thermostat, τ in fs", "forces", *columns, *(f"paper: {name}" for name in columns)], rows)


def _diffusion_table(findings: Findings) -> str:
    reference = findings.reference
    rows = [
        [
            finding.condition.thermostat,
            finding.condition.forces,
            explosion(finding) or _shown(finding.diffusion),
            _shown(finding.diffusion_from_displacements),
            "1"
            if finding is reference
            else _shown(ratio(reference.diffusion, finding.diffusion) if reference else None),
            f"about {paper.SLOWED[finding.condition.thermostat]:g}"
            if finding.condition.thermostat in paper.SLOWED
            else "–",
        ]
        for finding in findings.all
        if finding.condition.tau is not None or finding is reference
    ]
    d = f"D({findings.all[0].heavy})"
    titles = [f"{d} from ω → 0, Å²/ps", f"{d} from displacements, Å²/ps", "slowed by a factor", "paper"]
    return _table(["thermostat, τ in fs", "forces", *titles], rows)


def _cost_table(findings: Findings, campaign: Campaign) -> str:
    """Time for a step of the fast forces: the fastest simulation, as others may have shared their cores."""
    fastest: dict[str, float] = {}
    for finding in findings.all:
        for each in finding.measured:
            if each.ended.seconds_per_step is not None:
                forces = finding.condition.forces
                pace = 1000.0 * each.ended.seconds_per_step / (finding.condition.stride or 1)
                fastest[forces] = min(pace, fastest.get(forces, pace))
    slowest = fastest.get("conservative")
    rows = [
        [
            forces,
            f"{pace:.3g}",
            f"{slowest / pace:.2f}" if slowest else "–",
            f"{paper.MILLISECONDS[forces]:g}" if forces in paper.MILLISECONDS else "–",
            f"{paper.MILLISECONDS['conservative'] / paper.MILLISECONDS[forces]:.2f}"
            if forces in paper.MILLISECONDS
            else "–",
        ]
        for forces, pace in fastest.items()
    ]
    titles = [f"ms for {campaign.timestep:g} fs", "faster than conservative by", "paper: ms, H100", "paper: faster by"]
    return _table(["forces", *titles], rows) + "\n\nThe fastest simulation of each, everything included."


def _shown(estimate: Estimate | None) -> str:
    return "–" if estimate is None else estimate.brief().replace("-", "−")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(names: Sequence[str]) -> str:
    """Names in a line, each once; of more than three, the first two and the number of others."""
    each = list(dict.fromkeys(names))
    return ", ".join(each) if len(each) <= 3 else f"{', '.join(each[:2])} and {len(each) - 2} more"
