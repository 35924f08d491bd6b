"""Other forces for an i-PI input: multiple time stepping, direct or conservative ones, with all else as it is.

What is not about forces stays to the letter, comments and line breaks included: the text is edited, not the tree that
i-PI reads, and what comes out is read by i-PI's classes before anybody gets it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from ..errors import DarkforcesError
from ..split.component import Component
from .forcefields import SocketForcefield, fits_parameters
from .inputs import SimulationInput
from .tree import descendants, number, text_of

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_MARK = re.compile(r"\0(\d+)\0")  # in place of a comment
_SOCKET = re.compile(r"[ \t]*<ffsocket\b.*?</ffsocket\s*>[ \t]*\n?", re.DOTALL)
_FORCE = re.compile(r"[ \t]*<force\b[^>]*?(?:/>|>.*?</force\s*>)[ \t]*\n?", re.DOTALL)
_TIMESTEP = re.compile(r"(?P<indent>[ \t]*)(?P<head><timestep\b[^>]*>)(?P<value>[^<]*)(?P<tail></timestep\s*>)")
_PARAMETERS = re.compile(r"(<parameters>)(.*?)(</parameters>)", re.DOTALL)
_NAME = re.compile(r"(<ffsocket\b[^>]*?\bname\s*=\s*)(['\"])(.*?)\2", re.DOTALL)
_FORCEFIELD = re.compile(r"(\bforcefield\s*=\s*)(['\"])(.*?)\2")
_EMPTY_SOCKET = re.compile(r"(<ffsocket\b[^>]*?)\s*/>")
_LAST_PORT = 65535
_WEIGHTS = {Component.SLOW: "[ 1, 0 ]", Component.FAST: "[ 0, 1 ]"}


@dataclass(frozen=True)
class Converted:
    """An input with other forces.

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
    simulation, text, comments = _read(path)
    if _is_split(text):
        raise DarkforcesError(f"'{path}' has multiple time stepping already: change its <nmts> and <timestep> instead")
    socket, force = _only(_SOCKET, text, "<ffsocket>", path), _only(_FORCE, text, "<force>", path)
    timestep = _only(_TIMESTEP, text, "<timestep>", path)
    [forcefield] = simulation.socket_forcefields()
    name, step = forcefield.name, _number(timestep, path)
    _check_forcefield(force, forcefield, path)
    start = _start_of(simulation)
    sockets = "".join(_socket(socket[0], forcefield, component, start) for component in _WEIGHTS)
    forces = "".join(_force(force[0], name, component, weights) for component, weights in _WEIGHTS.items())
    said = "".join(mark[0] for mark in _MARK.finditer(timestep["value"]))
    longer = f"{timestep['indent']}{timestep['head']} {number(stride * step)} {said}{timestep['tail']}\n"
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
    simulation, text, comments = _read(path)
    if _is_split(text):
        raise DarkforcesError(f"'{path}' has multiple time stepping: expected an input with one kind of forces")
    socket = _only(_SOCKET, text, "<ffsocket>", path)
    changed = _with_parameters(socket[0], component, _start_of(simulation))
    return _checked(path, text.replace(socket[0], changed), comments, f"forces are the {component.value} ones")


def _read(path: Path) -> tuple[SimulationInput, str, list[str]]:
    """Read an input: its tree, its text without comments, and these.

    :raises DarkforcesError: if i-PI would not accept it, or it has outputs or forces of what is not there
    """
    simulation = SimulationInput.read(path)
    simulation.check_names()
    text, comments = _without_comments(path.read_text())
    return simulation, _EMPTY_SOCKET.sub(r"\1></ffsocket>", text), comments


def _is_split(text: str) -> bool:
    return "<nmts" in text or "<mts_weights" in text


def _checked(path: Path, text: str, comments: list[str], *changes: str) -> Converted:
    restored = _MARK.sub(lambda found: comments[int(found[1])], text)
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


def _number(timestep: re.Match[str], path: Path) -> float:
    written = _MARK.sub("", timestep["value"]).strip()
    try:
        return float(written)
    except ValueError as error:
        raise DarkforcesError(
            f"the <timestep> of '{path}' is '{written}': expected a number, to be multiplied without guessing"
        ) from error


def _check_forcefield(force: re.Match[str], forcefield: SocketForcefield, path: Path) -> None:
    """Raise a DarkforcesError if the force is not that of the socket alone."""
    named = _FORCEFIELD.search(force[0])
    if named is None or named[3] != forcefield.name or forcefield.wrapped:
        wanted = "" if named is None else named[3]
        raise DarkforcesError(
            f"the <force> of '{path}' is that of forcefield '{wanted}': expected that of its <ffsocket> "
            f"'{forcefield.name}', by itself"
        )


def _start_of(simulation: SimulationInput) -> str | None:
    """The file from which all systems start, from which their elements can be taken; None if there are several."""
    nodes = [node for each in descendants(simulation.root, "initialize") for node in descendants(each, "file")]
    names = {text_of(node) for node in nodes}
    name = names.pop() if len(names) == 1 else None
    return name if name is not None and fits_parameters(name) else None


def _socket(text: str, forcefield: SocketForcefield, component: Component, start: str | None) -> str:
    """The forcefield of a component: a name, an address or a port, and parameters of its own."""
    own = _NAME.sub(lambda found: f"{found[1]}'{forcefield.name}-{component.value}'", text, count=1)
    if forcefield.mode == "inet":
        other = forcefield.port + (1 if forcefield.port < _LAST_PORT else -1)
        own = _with_text(own, "port", str(forcefield.port if component is Component.SLOW else other))
    else:
        own = _with_text(own, "address", f"{forcefield.address}-{component.value}")
    return _with_parameters(own, component, start)


def _with_text(socket: str, name: str, value: str) -> str:
    """Give a socket a node with that text, in place of the one that it has."""
    node, there = f"<{name}> {escape(value)} </{name}>", re.compile(rf"<{name}\s*>.*?</{name}\s*>", re.DOTALL)
    return there.sub(lambda found: node, socket) if there.search(socket) else _with_node(socket, node)


def _with_node(socket: str, node: str) -> str:
    return re.sub(r"[ \t]*</ffsocket\s*>", lambda found: f"    {node}\n{found[0]}", socket, count=1)


def _with_parameters(socket: str, component: Component, start: str | None) -> str:
    """Add the component of a socket to its parameters, and the elements, if nothing gives them."""
    found = _PARAMETERS.search(socket)
    kept = [] if found is None else [each.strip() for each in found[2].strip().strip("{}").split(",")]
    kept = [each for each in kept if each and each.partition(":")[0].strip() != "component"]
    if start is not None and not any(each.partition(":")[0].strip() in ("species", "template") for each in kept):
        kept.append(f"template: {escape(start)}")
    parameters = f"<parameters> {{ {', '.join([f'component: {component.value}', *kept])} }} </parameters>"
    return _with_node(socket, parameters) if found is None else socket.replace(found[0], parameters)


def _force(text: str, name: str, component: Component, weights: str) -> str:
    """The force of a component, with its weights."""
    own = _FORCEFIELD.sub(lambda found: f"{found[1]}'{name}-{component.value}'", text, count=1)
    weighted = f" <mts_weights> {weights} </mts_weights> "
    if own.rstrip().endswith("/>"):
        return re.sub(r"\s*/>", lambda found: f">{weighted}</force>", own, count=1)
    return re.sub(r"\s*</force", lambda found: f"{weighted}</force", own, count=1)
