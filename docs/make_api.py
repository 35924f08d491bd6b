"""Write docs/api.md, the page of all names of the front door, from their docstrings.

python docs/make_api.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipi_darkforces as dark
from ipi_darkforces.analysis.analyze import Analyses, Results
from ipi_darkforces.analysis.summarized_run import SummarizedRun
from ipi_darkforces.assessment.assessment import Assessment
from ipi_darkforces.diagnostics.stride_prediction import StridePrediction
from ipi_darkforces.distillation.result import Distillation
from ipi_darkforces.testing import check_model

PAGE = Path(__file__).parent / "api.md"
# In the order in which one needs them; below each, what it returns. Of classes, the methods that are for users.
GROUPS = {
    "Models": ["load_model", "ForceModel", "Need", "Structure", "Forces"],
    "Dynamics": [
        "Calculator",
        "MultipleTimeStepping",
        "run",
        SummarizedRun,
        "stride",
        StridePrediction,
        "distill",
        Distillation,
    ],
    "Results": ["analyze", Analyses, Results, "assess", Assessment],
    "Errors": ["DarkforcesError"],
}
METHODS = {
    "ForceModel": ["evaluate", "jacobian"],
    "Structure": ["from_ase"],
    "SummarizedRun": ["folder", "remarks"],
    "Results": ["rows", "statements", "draw", "curves", "to_dict", "as_json"],
    "StridePrediction": ["longest", "excess", "advice", "as_json"],
    "Distillation": ["advised", "command", "seconds", "as_json"],
    "Assessment": ["rows", "command", "draw", "as_json"],
}
HEAD = """\
# The Python interface

`import ipi_darkforces as dark`. Energies in eV, lengths in Å, forces in eV/Å, virials in eV with i-PI's sign. This page
is made from the docstrings by `python docs/make_api.py`.
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    for title, entries in GROUPS.items():
        parts.append(f"## {title}\n")
        for entry in entries:
            parts += _entry(f"dark.{entry}", getattr(dark, entry)) if isinstance(entry, str) else _result(entry)
    parts += ["## Checks\n", *_entry("ipi_darkforces.testing.check_model", check_model)]
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if inspect.isfunction(thing) or "__init__" in vars(thing):
        yield f"```python\n{_signature(name, thing)}\n```\n"
    yield _markdown(inspect.getdoc(thing) or "")
    for method in METHODS.get(thing.__name__, []):
        yield from _method(name, method, inspect.getattr_static(thing, method))


def _result(kind: type) -> Iterator[str]:
    """A class of which users get objects, and make none."""
    yield f"### {kind.__name__}\n"
    yield _markdown(inspect.getdoc(kind) or "")
    for method in METHODS.get(kind.__name__, []):
        yield from _method(kind.__name__, method, inspect.getattr_static(kind, method))


def _method(owner: str, name: str, thing: Any) -> Iterator[str]:
    thing = getattr(thing, "__func__", thing)  # of class methods
    call = name if isinstance(thing, property) else _signature(name, thing)
    yield f"#### {owner}.{name}\n\n```python\n{call}\n```\n"
    yield _markdown(inspect.getdoc(thing) or "")


def _signature(name: str, thing: Any) -> str:
    """The call, one argument a line where it is long."""
    signature = inspect.signature(thing)
    given, keyword = [], False
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not keyword:
            given, keyword = [*given, "*"], True
        if each.name not in ("self", "cls"):
            given.append(_argument(each))
    arrow = f" -> {signature.return_annotation}" if inspect.isfunction(thing) else ""
    text = f"{name}({', '.join(given)}){arrow}"
    return text if len(text) <= 100 else "\n".join([f"{name}(", *(f"    {each}," for each in given), f"){arrow}"])


def _argument(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    return f"{text} = {'...' if callable(parameter.default) else repr(parameter.default)}"


def _markdown(text: str) -> str:
    """A docstring, with parameters as a list and examples as code."""
    text, _, example = text.partition("\n>>> ")
    lines: list[str] = []
    for line in text.splitlines():
        field = re.match(r":(param )?([\w, ]+): (.*)", line)
        if field is None:
            lines.append(f"  {line.strip()}" if line.startswith("    ") else line)
        else:
            what = (
                f"`{field[2]}`" if field[1] else field[2].replace("raises ", "raises `") + "`" * ("raises" in field[2])
            )
            lines.append(f"- {what}: {field[3]}")
    body = "\n".join(lines).replace("``", "`")
    return f"{body}\n" + (f"\n```python\n>>> {example}\n```\n" if example else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
