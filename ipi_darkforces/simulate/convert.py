"""Other forces for an i-PI input: multiple time stepping, direct or conservative ones, with all else as it is.

What is not about forces stays to the letter, comments and line breaks included: the text is edited, not the tree that
i-PI reads, and what comes out is read by i-PI's classes before anybody gets it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import DarkforcesError
from ..split.component import Component
from .inputs import SimulationInput

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SOCKET = re.compile(r"[ \t]*<ffsocket\b.*?</ffsocket>[ \t]*\n?", re.DOTALL)
_FORCE = re.compile(r"[ \t]*<force\b[^>]*?(?:/>|>.*?</force\s*>)[ \t]*\n?", re.DOTALL)
_TIMESTEP = re.compile(r"(?P<indent>[ \t]*)(?P<head><timestep\b[^>]*>)(?P<value>[^<]*)(?P<tail></timestep>)")
_PARAMETERS = re.compile(r"(<parameters>)(.*?)(</parameters>)", re.DOTALL)
_NAME = re.compile(r"(<ffsocket\b[^>]*?\bname\s*=\s*)(['\"])(.*?)\2", re.DOTALL)
_FORCEFIELD = re.compile(r"(\bforcefield\s*=\s*)(['\"])(.*?)\2")
_ADDRESS = re.compile(r"(<address>\s*)(.*?)(\s*</address>)", re.DOTALL)
_PORT = re.compile(r"(<port>\s*)(\d+)(\s*</port>)")
_FILE = re.compile(r"<file\b[^>]*\bmode\s*=\s*['\"](?:xyz|pdb|ase|chk)['\"][^>]*>\s*(.*?)\s*</file>", re.DOTALL)
_WEIGHTS = {Component.SLOW: "[ 1, 0 ]", Component.FAST: "[ 0, 1 ]"}


@dataclass(frozen=True)
class Converted:
    """An input with other forces.

    :param text: of the input
    :param changes: what is different, a line each
    """

    text: str
    changes: tuple[str, ...]


def with_multiple_time_stepping(path: Path, stride: int) -> Converted:
    """Split the forces of an input into fast ones at every step and slow ones at every M-th.

    The time step that the input has becomes that of the fast forces, and i-PI's becomes M times as long.

    :param path: an input with one `<ffsocket>`, one force, and dynamics
    :param stride: M
    :raises DarkforcesError: if it is something else, or has multiple time stepping already
    """
    if stride < 2:
        raise DarkforcesError(f"{stride} is not a stride of multiple time stepping: expected at least 2")
    text, comments = _without_comments(_read(path))
    socket, force = _only(_SOCKET, text, "<ffsocket>", path), _only(_FORCE, text, "<force>", path)
    timestep = _only(_TIMESTEP, text, "<timestep>", path)
    if "<nmts" in text or "<mts_weights" in text:
        raise DarkforcesError(f"'{path}' has multiple time stepping already: change its <nmts> and <timestep> instead")
    name, step = _name_of(socket, path), float(timestep["value"])
    sockets = "".join(_socket(socket[0], name, component, text) for component in _WEIGHTS)
    forces = "".join(_force(force[0], name, component, weights) for component, weights in _WEIGHTS.items())
    longer = f"{timestep['indent']}{timestep['head']} {stride * step:g} {timestep['tail']}\n"
    nmts = f"{timestep['indent']}<nmts> [ 1, {stride} ] </nmts>"
    text = text.replace(socket[0], sockets).replace(force[0], forces).replace(timestep[0], longer + nmts)
    unit = " fs" if "femtosecond" in timestep["head"] else ""
    return _checked(
        path,
        text,
        comments,
        f"forcefield '{name}' has become '{name}-slow' and '{name}-fast'",
        f"fast forces act every {step:g}{unit}, as those before, and slow ones every {stride * step:g}{unit}: <nmts> "
        f"[ 1, {stride} ]",
        f"i-PI's steps, which <total_steps> and strides of outputs count, are {stride} times as long",
    )


def with_component(path: Path, component: Component) -> Converted:
    """Let an input without multiple time stepping run with one kind of forces.

    :param path: an input with one `<ffsocket>`
    :param component: ``conservative`` or ``direct``
    :raises DarkforcesError: if it is something else
    """
    text, comments = _without_comments(_read(path))
    socket = _only(_SOCKET, text, "<ffsocket>", path)
    changed = _with_parameters(socket[0], component, text)
    return _checked(path, text.replace(socket[0], changed), comments, f"forces are the {component.value} ones")


def _read(path: Path) -> str:
    SimulationInput.read(path)  # says what is wrong with it
    return path.read_text()


def _checked(path: Path, text: str, comments: list[str], *changes: str) -> Converted:
    restored = re.sub(r"\0(\d+)\0", lambda found: comments[int(found[1])], text)
    SimulationInput.of(restored, path)
    return Converted(restored, changes)


def _without_comments(text: str) -> tuple[str, list[str]]:
    """The text with a mark in place of each comment, in which tags do not count."""
    comments: list[str] = []

    def mark(found: re.Match[str]) -> str:
        comments.append(found[0])
        return f"\0{len(comments) - 1}\0"

    return _COMMENT.sub(mark, text), comments


def _only(pattern: re.Pattern[str], text: str, what: str, path: Path) -> re.Match[str]:
    found = list(pattern.finditer(text))
    if len(found) != 1:
        raise DarkforcesError(f"'{path}' has {len(found)} {what}; expected one, to be changed without guessing")
    return found[0]


def _name_of(socket: re.Match[str], path: Path) -> str:
    name = _NAME.search(socket[0])
    if name is None:
        raise DarkforcesError(f"the <ffsocket> of '{path}' has no name")
    return name[3]


def _socket(text: str, name: str, component: Component, whole: str) -> str:
    """The forcefield of a component: a name, an address and parameters of its own."""
    own = _NAME.sub(lambda found: f"{found[1]}'{name}-{component.value}'", text, count=1)
    if _PORT.search(own):
        if component is Component.FAST:
            own = _PORT.sub(lambda found: f"{found[1]}{int(found[2]) + 1}{found[3]}", own, count=1)
    else:
        own = _ADDRESS.sub(lambda found: f"{found[1]}{found[2]}-{component.value}{found[3]}", own, count=1)
    return _with_parameters(own, component, whole)


def _with_parameters(socket: str, component: Component, whole: str) -> str:
    """Add the component of a socket to its parameters, and the elements, if nothing gives them."""
    found = _PARAMETERS.search(socket)
    kept = [] if found is None else [each.strip() for each in found[2].strip().strip("{}").split(",")]
    kept = [each for each in kept if each and each.partition(":")[0].strip() != "component"]
    start = _FILE.search(whole)
    if start is not None and not any(each.partition(":")[0].strip() in ("species", "template") for each in kept):
        kept.append(f"template: {start[1]}")
    parameters = f"<parameters> {{ {', '.join([f'component: {component.value}', *kept])} }} </parameters>"
    if found is not None:
        return socket.replace(found[0], parameters)
    end = re.search(r"[ \t]*</ffsocket>", socket)
    assert end is not None
    return socket.replace(end[0], f"    {parameters}\n{end[0]}")


def _force(text: str, name: str, component: Component, weights: str) -> str:
    """The force of a component, with its weights."""
    own = _FORCEFIELD.sub(lambda found: f"{found[1]}'{name}-{component.value}'", text, count=1)
    weighted = f" <mts_weights> {weights} </mts_weights> "
    if own.rstrip().endswith("/>"):
        return re.sub(r"\s*/>", lambda found: f">{weighted}</force>", own, count=1)
    return re.sub(r"\s*</force", lambda found: f"{weighted}</force", own, count=1)
