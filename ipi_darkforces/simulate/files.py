"""The files that an i-PI input names: where they lie, and where their copies go in the folder of a run.

i-PI looks for them from the folder in which it works, which is that of the input here. A copy keeps its name relative
to that folder, so that what the files say of each other stays true. A file that lies elsewhere, or whose name i-PI
would write to or could not write into its RESTART, goes to ``files/``, and the input's reference with it.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from ipi.inputs.initializer import InputInitializer
from ipi.utils.io.inputs.io_xml import xml_node

from ..digest import digest
from ..errors import DarkforcesError
from .tree import child, children, descendants, nodes, parse, set_text, text_of

ELSEWHERE = "files"  # the folder for copies of what cannot keep its place
# Modes in `<initialize>` in which a text is the name of a file; in others it holds the values.
_FILE_MODES = ("xyz", "pdb", "chk", "ase")
# Nodes whose text is the name of a file, wherever they stand.
_FILE_NODES = ("file", "plumed_dat", "pes_path", "yaffpara", "yaffsys", "sGDML_model")
# Files that are read whether or not the input names them: node, the node in it that may name it, and the default.
_DEFAULTS = (
    ("ffplumed", "plumed_dat", "plumed.dat"),
    ("ffyaff", "yaffpara", "parameters.txt"),
    ("ffyaff", "yaffsys", "system.chk"),
)
_CACHES = ("ecache_file", "qcache_file")  # which i-PI reads if they are there, and writes
_SAMPLES = "SOBOL-RNG"  # what i-PI calls the file of `<random_type> file </random_type>`
_WILDCARDS = re.compile(r"[*?\[\]]")
_UNSAFE = re.compile(r"[&<>'\"]")  # what i-PI writes into its RESTART as it is, where it means something in XML
_EDGES = r"\w./~+-"  # what does not end the name of a file in a longer text


@dataclass
class InputFile:
    """A file of an input.

    :param source: where it lies
    :param target: where its copy goes, relative to the folder of the run
    :param written: whether the simulation writes to it too, so that it is no sign of another input when it changes
    :param renamed: names in it that are others in the copy
    """

    source: Path
    target: str
    written: bool = False
    renamed: dict[str, str] = field(default_factory=dict)

    def copy(self, folder: Path) -> None:
        """Put the copy into a folder."""
        path = folder / self.target
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.renamed:
            path.write_text(self._text())
        else:
            shutil.copyfile(self.source, path)

    def digest(self) -> str:
        """The digest of the copy, which tells it from others."""
        return hashlib.sha256(self._text().encode()).hexdigest() if self.renamed else digest(self.source)

    def _text(self) -> str:
        text = self.source.read_text()
        for old, new in self.renamed.items():
            text = replace_name(text, old, new)
        return text


def replace_name(text: str, old: str, new: str) -> str:
    """Put the name of a file in place of another one."""
    return re.sub(rf"(?<![{_EDGES}]){re.escape(old)}(?![{_EDGES}])", lambda found: new, text)


@dataclass(frozen=True)
class FileReference:
    """A place where an input names a file.

    :param name: as it stands there
    :param rename: puts another one there
    :param needed: whether i-PI cannot do without
    :param written: see `InputFile`
    """

    name: str
    rename: Callable[[str], None] | None
    needed: bool = True
    written: bool = False


def references(root: xml_node, folder: Path) -> Iterator[FileReference]:
    """The places where an input names a file.

    :param root: of the input, without templates
    :param folder: from which i-PI would look for them
    """
    for initialize in descendants(root, "initialize"):
        for kind, node in children(initialize):
            if kind != "file" and node.attribs.get("mode", _default_mode(kind)) in _FILE_MODES:
                yield _text_of(node)
    for node in descendants(root, *_FILE_NODES):
        if text_of(node):
            yield _text_of(node)
    for node in arrays_in_files(root):
        yield _text_of(node)
    for kind, name, default in _DEFAULTS:
        for node in descendants(root, kind):
            if child(node, name) is None:
                yield FileReference(default, _adder(node, name))
    for node in descendants(root, *_CACHES):
        yield _text_of(node, needed=False, written=True)
    if any(text_of(node) == "file" for node in descendants(root, "random_type")):
        yield FileReference(_SAMPLES, None)
    yield from _in_parameters(root, folder)
    for node in descendants(root, "properties"):
        for arguments in re.findall(r"\(([^()]*)\)", text_of(node)):
            yield from (_part_of(node, each) for each in map(str.strip, arguments.split(";")) if _is_file(folder, each))


def _default_mode(kind: str) -> str:
    known = InputInitializer.dynamic.get(kind)
    return "" if known is None else str(known[0].attribs["mode"][1]["default"])


def arrays_in_files(root: xml_node) -> Iterator[xml_node]:
    """The nodes of arrays that are read from a file."""
    return (node for node in nodes(root) if node.attribs.get("mode") == "file")


def _text_of(node: xml_node, needed: bool = True, written: bool = False) -> FileReference:
    return FileReference(text_of(node), lambda name: set_text(node, name), needed, written)


def _part_of(node: xml_node, name: str, needed: bool = False) -> FileReference:
    return FileReference(name, lambda new: set_text(node, replace_name(text_of(node), name, new)), needed)


def _adder(node: xml_node, name: str) -> Callable[[str], None]:
    return lambda text: node.fields.append((name, parse(f"<{name}>{text}</{name}>")))


def _in_parameters(root: xml_node, folder: Path) -> Iterator[FileReference]:
    """Templates, and whatever else among parameters is the name of a file, on its own or as a part of a model's."""
    for forcefield in nodes(root):
        node = child(forcefield, "parameters")
        if node is None:
            continue
        for entry in text_of(node).strip("{}").split(","):
            key, _, value = (part.strip() for part in entry.partition(":"))
            if key == "template" and forcefield.name == "ffsocket":
                yield _part_of(node, value, needed=True)
            else:
                for part in dict.fromkeys([value, *re.split(r"[\s?;=:]+", value)]):
                    if _is_file(folder, part):
                        yield _part_of(node, part)


def _is_file(folder: Path, name: str) -> bool:
    """Tell whether it is a file that is meant: a word stays a word, even if there is a file of that name."""
    return ("/" in name or bool(Path(name).suffix)) and (folder / name).is_file()


class Placing:
    """Places for copies of the files of an input.

    :param source: the input, for messages
    :param folder: from which i-PI would look for them
    :param taken: whether a name in the folder of the run is one that something else is called
    """

    def __init__(self, source: Path, folder: Path, taken: Callable[[str], bool]):
        self._source = source
        self._folder = Path(os.path.abspath(folder))
        self._taken = taken
        self.files: dict[str, InputFile] = {}  # by their targets
        self.renamed: dict[str, str] = {}  # names in the input that are others now
        self._targets: dict[Path, str] = {}

    def place(self, root: xml_node) -> None:
        """Find the files that an input names, and let it name their copies.

        :raises DarkforcesError: if a file does not exist, or cannot be copied so that i-PI finds it
        """
        found = [each for reference in references(root, self._folder) for each in self._expanded(reference)]
        paths = {id(each): self._existing(each) for each in found}
        # Those that stay where they are come first, so that nothing else takes their places.
        for reference in sorted(found, key=lambda each: not self._stays(paths[id(each)])):
            path = paths[id(reference)]
            if path is not None:
                self._refer(reference, self._add(path, reference.written))
        for node in descendants(root, "ffplumed"):
            named = child(node, "plumed_dat")
            name = "plumed.dat" if named is None else text_of(named)
            self._follow(self.files[name])

    def _expanded(self, reference: FileReference) -> Iterator[FileReference]:
        """Each of the files that a name with wildcards stands for."""
        if not _WILDCARDS.search(reference.name) or (self._folder / reference.name).is_file():
            yield reference
            return
        matches = [each.name for each in sorted(self._folder.iterdir()) if fnmatch(each.name, reference.name)]
        if not matches:
            raise DarkforcesError(
                f"'{self._source}' refers to files '{reference.name}', of which there is none beside it"
            )
        yield from (FileReference(name, None) for name in matches)

    def _existing(self, reference: FileReference) -> Path | None:
        path = Path(os.path.normpath(self._folder / reference.name))
        if path.is_file():
            return path
        if not reference.needed:
            return None
        beside = "" if reference.name == str(path) else f" (names of files are relative to the input: '{path}')"
        raise DarkforcesError(f"'{self._source}' refers to the file '{reference.name}', which does not exist{beside}")

    def _refer(self, reference: FileReference, target: str) -> None:
        if target == reference.name:
            return
        if reference.rename is None:
            raise DarkforcesError(
                f"'{self._source}' refers to the file '{reference.name}', which i-PI would find under this name only, "
                "and the run has something else of that name; rename it, or the prefix of the outputs"
            )
        reference.rename(target)
        self.renamed[reference.name] = target

    def _relative(self, path: Path) -> str | None:
        """The place of a file in the folder of the input, if it lies in there and may be called so in a run's."""
        if self._folder not in path.parents:
            return None
        name = path.relative_to(self._folder).as_posix()
        return None if self._taken(name) or _UNSAFE.search(name) else name

    def _stays(self, path: Path | None) -> bool:
        return path is not None and self._relative(path) is not None

    def _add(self, path: Path, written: bool) -> str:
        """Choose a place for the copy of a file; of one that is named twice, one."""
        if path not in self._targets:
            target = self._relative(path) or self._free(re.sub(r"[^\w.+-]", "_", path.name))
            self._targets[path] = target
            self.files[target] = InputFile(path, target, written)
        return self._targets[path]

    def _free(self, name: str) -> str:
        target, number = posixpath.join(ELSEWHERE, name), 2
        while target in self.files:
            target, number = posixpath.join(ELSEWHERE, str(number), name), number + 1
        return target

    def _follow(self, file: InputFile) -> None:
        """Find the files that one of PLUMED's inputs refers to, and those that it includes."""
        for line in file.source.read_text(errors="replace").splitlines():
            for name in _named_by_plumed(line):
                path = Path(os.path.normpath(self._folder / name))
                if not path.is_file() or path in self._targets:
                    continue
                target = self._add(path, written=True)
                if target != name:
                    file.renamed[name] = target
                if "INCLUDE" in line.split():
                    self._follow(self.files[target])


def _named_by_plumed(line: str) -> Iterator[str]:
    """Values of the keys in a line of PLUMED's input, which may be names of files."""
    for word in line.partition("#")[0].split():
        _, equals, value = word.partition("=")
        if equals:
            yield from (part for part in re.split(r"[,{}\"']", value) if part)
