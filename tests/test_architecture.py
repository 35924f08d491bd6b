"""Imports between the rooms of the package only point down, as `docs/architecture.md` draws them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ipi_darkforces"
GROUND = "ground"


def rooms_by_floor() -> list[set[str]]:
    """The rooms as the document lists them, from the top: those in one line do not import each other."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = re.search(r"<!-- rooms -->\n+((?:    .*\n)+)", text)
    assert block, "docs/architecture.md has no list of rooms"
    names = (line[4:].split("  ")[0] for line in block[1].splitlines())
    return [{name.strip() for name in line.split(",")} for line in names]


def room_of(path: Path) -> str:
    """The room that a module is in; those directly in the package are the ground, but for its front door."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else GROUND


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a module imports from, anywhere in it."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = [*start, *(node.module or "").split(".")]
            names = [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for name in names:
            name = [part for part in name if part]
            if name[0] == PACKAGE.name and len(name) > 1:
                found.add(name[1] if (PACKAGE / name[1]).is_dir() else GROUND)
    return found


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_the_document_lists_the_rooms_that_there_are():
    listed = set().union(*rooms_by_floor())
    there = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert listed == there | {GROUND}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    floors = rooms_by_floor()
    floor = {room: i for i, rooms in enumerate(floors) for room in rooms}
    own = room_of(path)
    wrong = {room for room in imported_rooms(path) if room != own and floor[room] <= floor[own]}
    assert not wrong, f"{path.relative_to(ROOT)} ({own}) imports from {', '.join(sorted(wrong))}, which is not below it"


def test_an_import_that_points_up_is_found(tmp_path):
    """The test can fail."""
    module = PACKAGE / "models" / "pair.py"
    assert imported_rooms(module) <= {"models", GROUND}
    assert imported_rooms(PACKAGE / "cli" / "running.py") > {"simulate", "models"}


def test_modules_that_are_checked_strictly_are_there():
    named = re.findall(r'^    "(ipi_darkforces[\w.]*)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    files = {name: ROOT.joinpath(*name.rstrip(".").split(".")) for name in named}
    assert files
    assert [name for name, file in files.items() if not (file.is_dir() or file.with_suffix(".py").exists())] == []
