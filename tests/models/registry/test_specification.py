"""Models in one line: what is said is what is heard, wherever it has been in between."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from ipi.utils.io.inputs.io_xml import read_dict, write_dict

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.specification import (
    absolute,
    chosen,
    join_pair,
    label_of,
    split_options,
    split_pair,
    with_options,
)

OPTIONS = {
    "charge": -1,
    "accuracy": 0.01,
    "verbose": True,
    "dispersion": None,
    "method": "GFN2-xTB",
    "file": "/my models/a&b,c;d=e?f{g}.pt",
}


class TestOptions:
    def test_keep_their_kinds(self) -> None:
        name, options = split_options(with_options("ase:a.b:C", OPTIONS))
        assert name == "ase:a.b:C"
        assert options == OPTIONS
        assert [type(value) for value in options.values()] == [type(value) for value in OPTIONS.values()]

    def test_pass_through_lists_and_xml_of_ipi(self) -> None:
        model = with_options("ase:a.b:C", OPTIONS)
        assert escape(model) == model
        assert read_dict(write_dict({"model": model, "component": "fast"})) == {"model": model, "component": "fast"}

    def test_are_added_to_those_there_are(self) -> None:
        assert with_options("ase:a:b?x=1;y=2", {"y": 3, "z": "w"}) == "ase:a:b?x=1;y=3;z=w"
        assert with_options("ase:a:b", {}) == "ase:a:b"
        assert with_options("ase:a:b?x=1&y=2", {"z": "w"}) == "ase:a:b?x=1;y=2;z=w"

    def test_a_file_may_be_called_what_it_likes(self, tmp_path: Path) -> None:
        path = tmp_path / "what?a=1.pt"
        path.touch()
        assert split_options(str(path)) == (str(path), {})


class TestPairs:
    def test_are_two(self) -> None:
        pair = join_pair("ase:a:b?x=1", "pet-m")
        assert split_pair(pair) == ("ase:a:b?x=1", "pet-m")
        assert split_pair("pet-m") is None

    def test_options_say_for_which(self) -> None:
        pair = with_options(join_pair("ase:a:b", "ase:c:d"), {"fast.x": 1, "slow.y": "z"})
        assert pair == "fast=ase:a:b?x=1 slow=ase:c:d?y=z"

    def test_options_that_do_not_say_it(self) -> None:
        with pytest.raises(
            DarkforcesError, match="option 'x' is for which of the two models[?] expected fast.x or slow"
        ):
            with_options(join_pair("a", "b"), {"x": 1})


@pytest.mark.parametrize(
    "said", [(None, None, None), ("a", "b", None), (None, "a", None), (None, None, "b"), ("a", "b", "c")]
)
def test_one_model_or_two(said: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(DarkforcesError, match="which model[?]"):
        chosen(*said)


def test_one_or_two_are_chosen() -> None:
    assert chosen("a", None, None) == "a"
    assert chosen(None, "a", "b") == "fast=a slow=b"


def test_files_have_whole_paths_elsewhere_and_words_stay_words(tmp_path: Path) -> None:
    for name in ("my.pt", "mine.py", "weights.bin", "large"):
        (tmp_path / name).touch()
    assert absolute("my.pt", tmp_path) == f"{tmp_path}/my.pt"
    assert absolute("pet-m", tmp_path) == "pet-m"
    assert absolute("ase:mine.py:make?weights=weights.bin;size=large", tmp_path) == (
        f"ase:{tmp_path}/mine.py:make?weights={tmp_path}/weights.bin;size=large"
    )
    assert absolute("fast=my.pt slow=ase:a.b:C", tmp_path) == f"fast={tmp_path}/my.pt slow=ase:a.b:C"


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("pet-m", "pet-m"),
        ("my.pt", "my"),
        ("/somewhere/my--model.ckpt", "my-model"),
        ("ase:tblite.ase:TBLite?method=GFN1-xTB", "ase_tblite.ase_TBLite_GFN1-xTB"),
        ("ase:/home/me/mine.py:make?weights=/data/w.pt", "mine.py_make_w.pt"),
        ("fast=pet-m slow=/a/b.pt", "pet-m-b"),
    ],
)
def test_labels_are_fit_for_names_of_files(model: str, label: str) -> None:
    assert label_of(model) == label
