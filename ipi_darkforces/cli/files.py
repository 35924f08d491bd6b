"""Printing a result, and drawing its picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..atomic import writing
from ..errors import printable
from .output import print_result


def show(text: str, picture: Path | None, draw: Callable[[Path], None], for_machines: bool) -> None:
    """Print what was found out, and then draw it: a picture that cannot be drawn hides nothing.

    :param picture: where it goes; None for none
    :param for_machines: print nothing about the picture
    :raises DarkforcesError: if the picture cannot be written
    """
    print_result(text)
    if picture is None:
        return
    with writing(picture) as file:
        draw(file)
    if not for_machines:
        print_result(f"\nwritten: {printable(picture)}")
