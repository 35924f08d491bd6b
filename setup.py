"""The README as a package index shows it: links into the repository are absolute. All else is in `setup.cfg`."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#)([^)]+)\)")


def long_description() -> str:
    """Return the README, with links to this version in the repository, if `setup.cfg` says by `url` where that is."""
    settings = configparser.ConfigParser()
    settings.read(HERE / "setup.cfg")
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    url = settings.get("metadata", "url", fallback=None)
    if url is None:
        return readme
    version = settings.get("metadata", "version")

    def absolute(link: re.Match[str]) -> str:
        kind = "raw" if link[1] else "blob"
        return f"{link[1]}{link[2]}({url}/{kind}/v{version}/{link[3]})"

    return LINK.sub(absolute, readme)


setup(long_description=long_description())
