"""Options are the same in all commands, examples in help texts parse, and exit codes are those of the documentation."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

import pytest

from ipi_darkforces.assessment.verdict import Advice
from ipi_darkforces.cli import driver, entry, main
from ipi_darkforces.cli.commands import COMMANDS, build_parser, with_model_first

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    """The command line with all commands."""
    return build_parser()


def below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Commands below a command, by name."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


@pytest.fixture(scope="module")
def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Whatever has options of its own, by name."""
    found = below(parser)
    for name, question in below(found.pop("analyze")).items():
        found[f"analyze {name}"] = question
    return found


def test_shared_options_are_the_same_everywhere(commands: dict[str, argparse.ArgumentParser]) -> None:
    shared = ["--json", "--device", "--dtype", "--variant", "--backend", "--temperature", "--timestep"]
    for option in shared:
        described = {
            (action.help.split(" (default")[0], action.metavar, action.type, tuple(action.choices or ()))
            for command in commands.values()
            for action in command._actions
            if option in action.option_strings and action.help
        }
        assert len(described) == 1, (option, described)


def test_output_options_come_last_and_are_complete(commands: dict[str, argparse.ArgumentParser]) -> None:
    for name, command in commands.items():
        if name in ("input", "completion"):  # what they print is no result
            continue
        last = command._action_groups[-1]
        options = {option for action in last._group_actions for option in action.option_strings}
        assert (name, last.title) == (name, "output")
        assert "--json" in options or name == "train"  # which prints no result
        for option in ("--output", "--plot", "--overwrite"):
            everywhere = {o for action in command._actions for o in action.option_strings}
            assert (option in options) == (option in everywhere), (name, option)


@pytest.mark.parametrize("columns", [80, 200])
def test_help_fits_the_terminal_and_leaves_nothing_out(
    columns: int, parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in [parser, *below(parser).values(), *below(below(parser)["analyze"]).values(), driver.build_parser()]:
        text = command.format_help()
        assert [line for line in text.splitlines() if len(line) > columns] == []
        for part in (command.description, command.epilog):
            assert words_of(part or "") in words_of(text)


def words_of(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(word for word in text.split() if word != "\\")


def test_examples_of_all_commands_parse(parser: argparse.ArgumentParser) -> None:
    with_examples = [*below(parser).values(), driver.build_parser()]
    programs = {"darkforces": parser, "i-pi-darkdriver": with_examples[-1]}
    for command in with_examples:
        assert command.epilog is not None
        lines = re.sub(r"\\\n\s*", "", command.epilog).splitlines()
        examples = [shlex.split(line) for line in lines if line.startswith(tuple(f"  {name} " for name in programs))]
        assert examples, command.prog
        for program, *words in examples:
            words = words[: next((i for i, word in enumerate(words) if word in (">", ">>")), None)]
            if words[0] == "analyze" and words[1] not in below(below(parser)["analyze"]):
                words.insert(1, "report")
            programs[program].parse_args(words)


@pytest.mark.parametrize(
    ("given", "as_if"),
    [
        ("stride water.xyz --time 3 --model pet-m", "stride pet-m water.xyz --time 3"),
        ("evaluate -m pet-m val.xyz", "evaluate pet-m val.xyz"),
        ("work --model=a=b.pt --path loop.xyz", "work a=b.pt --path loop.xyz"),
        ("run water.xml --model pet-m", "run water.xml --model pet-m"),
        ("stride water.xyz --model", "stride water.xyz"),
        ("", ""),
    ],
)
def test_the_model_is_given_in_the_same_way_everywhere(given: str, as_if: str) -> None:
    assert with_model_first(given.split()) == as_if.split()


def test_exit_codes_are_documented() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "exit_codes.md").read_text(), re.MULTILINE)
    assert [int(code) for code in rows] == sorted({0, 1, 2, entry.EXPLODED, *Advice, entry.INTERRUPTED})


WITHOUT_FILE = {
    "run": "missing --model pet-m",
    "input": "missing --mts 4",
    "inputs": "missing",
    "assess": "pet-m missing",
    "campaign": "missing",
    "analyze": "drift missing",
    "evaluate": "pet-m missing",
    "stride": "pet-m missing",
    "distill": "pet-m missing --output nothing",
    "train": "pet-nc --data missing --output nothing --name nothing",
    "jacobian": "pet-m missing",
    "work": "pet-m missing",
    "optimize": "pet-m missing",
    "view": "pet-m missing",
    "models": "missing.ckpt",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_used_is_exit_code_1_and_a_wrong_option_2(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    codes = {1: WITHOUT_FILE.get(command), 2: f"{WITHOUT_FILE.get(command, '')} --no-such-option"}
    for code, words in codes.items():
        if words is None:
            continue
        monkeypatch.setattr(sys, "argv", ["darkforces", command, *words.split()])
        with pytest.raises(SystemExit) as done:
            main.main()
        out, err = capsys.readouterr()
        assert (out, done.value.code) == ("", code)
        if code == 1:
            assert err.startswith("darkforces: error: ")
            assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
