from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.card import Card

CONTENT = {
    "description": "PET for water",
    "architecture": "PET, cutoff 3.5 Å",
    "data": "320 structures",
    "license": "CC-BY-4.0",
    "citation": "somebody, 2020",
    "training": "50 epochs\n\nthen 32 more",
    "errors": {"energy_mae_meV_per_atom": 0.55, "conservative_mae_meV_per_A": 54},
    "valid_range": "liquid water",
}
FIELDS = (
    "description, architecture, data, license, citation, training, errors, valid_range, and perhaps "
    "provides, elements, teacher, teacher_fingerprint"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.json"


def refused(path: Path, content: Any) -> str:
    """The message about a card that cannot be read, less the name of the file."""
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(DarkforcesError) as caught:
        Card.read(path)
    message = str(caught.value)
    assert message.startswith(f"model card '{path}'")
    assert "\n" not in message
    return message.removeprefix(f"model card '{path}'").removeprefix(": ")


class TestRead:
    def test_has_the_fields_of_the_file(self, path: Path) -> None:
        path.write_text(json.dumps(CONTENT), encoding="utf-8")
        assert Card.read(path).as_dict() == CONTENT

    def test_errors_may_be_unknown(self, path: Path) -> None:
        path.write_text(json.dumps(CONTENT | {"errors": {}}), encoding="utf-8")
        assert Card.read(path).errors == {}

    def test_may_say_what_the_model_provides_and_which_elements_it_knows(self, path: Path) -> None:
        said = {"provides": ["energy", "direct forces"], "elements": ["H", "O"]}
        path.write_text(json.dumps(CONTENT | said), encoding="utf-8")
        card = Card.read(path)
        assert (card.provides, card.elements) == (("energy", "direct forces"), ("H", "O"))
        assert card.as_dict() == CONTENT | said

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("provides", "energy", "'provides' is text; expected a list"),
            (
                "provides",
                ["forces"],
                "'provides' has 'forces'; expected some of energy, conservative forces, direct forces, virial, "
                "uncertainty, energy ensemble",
            ),
            ("teacher", "", "'teacher' is empty; expected text"),
            ("teacher_fingerprint", 3, "'teacher_fingerprint' is a number; expected text"),
            ("elements", ["H", 8], "'elements' has a number; expected a chemical symbol"),
            ("elements", ["H", "X"], "'elements' has 'X'; expected a chemical symbol"),
            ("elements", [["H"]], "'elements' has a list; expected a chemical symbol"),
            ("elements", ["\x1b[2J"], r"'elements' has '\x1b[2J'; expected a chemical symbol"),
        ],
    )
    def test_what_no_model_provides(self, name: str, value: Any, message: str, path: Path) -> None:
        assert refused(path, CONTENT | {name: value}) == message

    @pytest.mark.parametrize("content", ["", "{", "PET", "{'description': 1}", "[" * 100000, "1" * 5000])
    def test_what_is_not_json(self, content: str, path: Path) -> None:
        assert refused(path, content).startswith(" is not JSON: ")

    def test_what_is_not_text(self, path: Path) -> None:
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(DarkforcesError, match="model.json' is not JSON: 'utf-8' codec"):
            Card.read(path)

    @pytest.mark.parametrize(
        ("content", "kind"), [([1], "a list"), ("null", "null"), ("3", "a number"), ('"a"', "text")]
    )
    def test_json_that_is_no_object(self, content: Any, kind: str, path: Path) -> None:
        assert refused(path, content) == f"expected an object with the fields {FIELDS}; got {kind}"

    @pytest.mark.parametrize("name", CONTENT)
    def test_every_field_is_needed(self, name: str, path: Path) -> None:
        content = {key: value for key, value in CONTENT.items() if key != name}
        assert refused(path, content) == f"lacks {name}; expected the fields {FIELDS}"

    def test_unknown_and_missing_fields_are_named_together(self, path: Path) -> None:
        content = {key: value for key, value in CONTENT.items() if key not in ("data", "license")}
        said = refused(path, content | {"licence": "MIT", "a\nb": 1})
        assert said == f"lacks data, license and has the unknown 'licence', 'a\\nb'; expected the fields {FIELDS}"

    @pytest.mark.parametrize("name", [name for name in CONTENT if name != "errors"])
    @pytest.mark.parametrize(
        ("value", "kind"),
        [(3, "a number"), (None, "null"), (["a"], "a list"), ({}, "an object"), (True, "true or false")],
    )
    def test_texts_are_texts(self, name: str, value: Any, kind: str, path: Path) -> None:
        assert refused(path, CONTENT | {name: value}) == f"'{name}' is {kind}; expected text"

    @pytest.mark.parametrize("value", ["", " \n"])
    def test_texts_say_something(self, value: str, path: Path) -> None:
        assert refused(path, CONTENT | {"data": value}) == "'data' is empty; expected text"

    @pytest.mark.parametrize("value", ["\x1b[2J", "\ud800", "\x00"])
    def test_texts_can_be_printed(self, value: str, path: Path) -> None:
        """A card from somewhere is shown in a terminal, which obeys what it is sent."""
        assert "'data' has characters that cannot be printed" in refused(path, CONTENT | {"data": value})

    def test_description_is_one_line(self, path: Path) -> None:
        said = refused(path, CONTENT | {"description": "PET\nfor water"})
        assert said == "'description' has several lines; expected one"

    @pytest.mark.parametrize(("value", "kind"), [([1], "a list"), ("none", "text"), (0.5, "a number"), (None, "null")])
    def test_errors_have_names(self, value: Any, kind: str, path: Path) -> None:
        assert refused(path, CONTENT | {"errors": value}) == f"'errors' is {kind}; expected an object of numbers"

    @pytest.mark.parametrize(
        ("value", "kind"), [("0.5", "text"), (None, "null"), (True, "true or false"), ([], "a list")]
    )
    def test_errors_are_numbers(self, value: Any, kind: str, path: Path) -> None:
        said = refused(path, CONTENT | {"errors": {"a": 1, "b": value}})
        assert said == f"'errors' has {kind} for 'b'; expected a number"

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
    def test_errors_are_finite(self, value: float, path: Path) -> None:
        said = refused(path, CONTENT | {"errors": {"a": value}})
        assert said == "'errors' has NaN or infinity for 'a'; expected a number"

    @pytest.mark.parametrize("key", ["", "a\nb"])
    def test_errors_have_names_that_can_be_printed(self, key: str, path: Path) -> None:
        assert refused(path, CONTENT | {"errors": {key: 1}}).startswith(f"'errors' has the key {key!r}")

    def test_missing_file(self, path: Path) -> None:
        with pytest.raises(DarkforcesError, match=f"^model card '{path}' cannot be read: No such file or directory$"):
            Card.read(path)

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DarkforcesError, match="cannot be read: Is a directory$"):
            Card.read(tmp_path)


class TestWrite:
    def test_is_read_again(self, path: Path) -> None:
        Card(**CONTENT).write(path)
        assert Card.read(path) == Card(**CONTENT)

    def test_is_legible_without_a_program(self, path: Path) -> None:
        Card(**CONTENT).write(path)
        assert '\n  "architecture": "PET, cutoff 3.5 Å",\n' in path.read_text(encoding="utf-8")

    def test_can_be_read_by_whom_new_files_can(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "other").touch()
        Card(**CONTENT).write(path)
        assert path.stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_what_is_stopped_leaves_the_old_card_and_nothing_else(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Card(**CONTENT).write(path)

        def half(file: Path, text: str, encoding: str) -> None:
            file.write_bytes(text[:10].encode(encoding))
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "write_text", half)
        with pytest.raises(KeyboardInterrupt):
            Card(**CONTENT | {"description": "new"}).write(path)
        assert Card.read(path) == Card(**CONTENT)
        assert os.listdir(path.parent) == [path.name]

    def test_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere" / "model.json"
        with pytest.raises(
            DarkforcesError, match=f"^model card '{path}' cannot be written: No such file or directory$"
        ):
            Card(**CONTENT).write(path)


def test_card_that_is_made_is_checked_like_one_that_is_read() -> None:
    with pytest.raises(DarkforcesError, match="^'training' is empty; expected text$"):
        Card(**CONTENT | {"training": ""})
