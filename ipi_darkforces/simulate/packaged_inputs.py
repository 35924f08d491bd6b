"""The inputs that come with the package: i-PI inputs and campaigns, with the structures that they start from."""

from __future__ import annotations

import difflib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..atomic import writing
from ..errors import DarkforcesError

FOLDER = Path(__file__).parents[1] / "inputs"
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class PackagedInput:
    """An input that comes with the package.

    :param name: ``nve-mts4``, or ``campaigns/quick``
    :param shows: what it shows, in sentences
    :param files: of itself, and those that it needs, relative to `FOLDER`
    """

    name: str
    shows: str
    files: tuple[Path, ...]

    @property
    def title(self) -> str:
        """The first sentence of what it shows."""
        return re.split(r"(?<=\.)\s", self.shows, maxsplit=1)[0]


def packaged_inputs() -> list[PackagedInput]:
    """Packaged inputs by their names; campaigns at the end."""
    ipi = [_of_ipi(path) for path in sorted(FOLDER.glob("*.xml"), key=lambda path: path.stem)]
    return ipi + [_of_campaign(path) for path in sorted((FOLDER / "campaigns").glob("*.yaml"))]


def is_packaged(path: Path) -> bool:
    """Tell whether an i-PI input of this name comes with the package, wherever it was looked for."""
    return (FOLDER / path.name).is_file() and path.suffix == ".xml"


def _of_ipi(path: Path) -> PackagedInput:
    text = path.read_text(encoding="utf-8")
    comment = _COMMENT.search(text)
    assert comment is not None
    needed = [(node.text or "").strip() for node in ET.fromstring(text).iter("file")]
    structures = [Path(name).with_suffix(".xyz").name for name in needed]  # for commands that take structures
    files = [path.name, *needed, *(name for name in structures if (FOLDER / name).is_file())]
    return PackagedInput(path.stem, _first_paragraph(comment[1]), tuple(map(Path, files)))


def _of_campaign(path: Path) -> PackagedInput:
    text = path.read_text(encoding="utf-8")
    comment = "\n".join(line.lstrip("# ") for line in text.split("\n\n")[0].splitlines())
    structure = re.search(r"^structure: \.\./(\S+)", text, re.MULTILINE)
    assert structure is not None
    own = path.relative_to(FOLDER)
    return PackagedInput(str(own.with_suffix("")), _first_paragraph(comment), (own, Path(structure[1])))


def _first_paragraph(text: str) -> str:
    return " ".join(re.split(r"\n\s*\n", text, maxsplit=1)[0].split())


def copy_inputs(names: Iterable[str], folder: Path, overwrite: bool = False) -> list[Path]:
    """Copy inputs, and the files that they need, as they lie beside each other.

    :param names: with suffix or without
    :param folder: where to; it is made if it is not there
    :param overwrite: replace files of these names that have another content
    :raises DarkforcesError: if a name is not that of one, or something is in the way; then nothing is copied
    """
    known = {each.name: each for each in packaged_inputs()}
    chosen = [_named(name, known) for name in names]
    files = dict.fromkeys(file for each in chosen for file in each.files)
    for file in files:
        path, packaged = folder / file, FOLDER / file
        there = path.exists() and not (path.is_file() and path.read_bytes() == packaged.read_bytes())
        if there and not overwrite:
            raise DarkforcesError(f"'{path}' exists, with another content; choose another --output, or --overwrite it")
    for file in files:
        try:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DarkforcesError(f"'{folder / file}' cannot be written: {error.strerror}") from error
        with writing(folder / file) as fresh:
            fresh.write_bytes((FOLDER / file).read_bytes())
    return [folder / each.files[0] for each in chosen]


def _named(name: str, known: dict[str, PackagedInput]) -> PackagedInput:
    plain = re.sub(r"\.(xml|yaml)$", "", name).removeprefix("inputs/")
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`darkforces inputs` lists them"
        raise DarkforcesError(f"'{name}' is no input that comes with the package: {hint}")
    return known[plain]
