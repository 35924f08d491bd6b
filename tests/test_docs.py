"""The pages in `docs/` become a site without a warning, and links of those outside lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from programs import finish

ROOT = Path(__file__).parents[1]
OUTSIDE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "training/README.md", "benchmarks/README.md"]


def test_the_site_has_all_pages_and_all_commands(tmp_path):
    done = finish([sys.executable, "-m", "sphinx", "-q", "-W", "-E", str(ROOT / "docs"), str(tmp_path)])
    assert (done.returncode, done.stderr) == (0, "")
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages == {page.stem for page in tmp_path.glob("*.html")} - {"genindex", "search"}
    commands = (tmp_path / "commands.html").read_text()
    assert "usage: darkforces run" in commands
    assert "usage: darkforces analyze drift" in commands
    assert "usage: i-pi-darkdriver" in commands


@pytest.mark.parametrize("page", OUTSIDE)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        path = (ROOT / page).parent / target
        assert path.exists(), target
        if anchor:
            assert anchor in headings(path.read_text()), f"{target}#{anchor}"


def headings(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
