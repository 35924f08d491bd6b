"""Files that commands leave: whole ones, after what was found out has been shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DarkforcesError, one_line, printable
from ..whole import whole_file


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Where to write a file that is to be whole; see `whole_file`.

    :raises DarkforcesError: if it cannot be written
    """
    try:
        with whole_file(path) as fresh:
            yield fresh
    except OSError as error:
        raise DarkforcesError(f"'{path}' cannot be written: {error.strerror or one_line(error)}") from error


def show(text: str, picture: Path | None, draw: Callable[[Path], None], for_machines: bool) -> None:
    """Print what was found out, and then draw it: a picture that cannot be drawn hides nothing.

    :param picture: where it goes; None for none
    :param for_machines: then nothing is said about the picture
    :raises DarkforcesError: if the picture cannot be written
    """
    print(text, flush=True)
    if picture is None:
        return
    with writing(picture) as file:
        draw(file)
    if not for_machines:
        print(f"\npicture: {printable(picture)}")
