"""The command ``darkforces``."""

from __future__ import annotations

import sys

from . import entry
from .commands import build_parser, with_model_first
from .output import kept_for_results


def main() -> None:
    """Entry point."""
    sys.exit(entry.run(lambda: _run(sys.argv[1:])))


def _run(words: list[str]) -> int | None:
    words = with_model_first(words)
    if words[:1] == ["analyze"]:
        from .analyze import with_analysis  # the other commands need none of what this imports

        words = with_analysis(words)
    args = build_parser(only=words[0] if words else "").parse_args(words)
    with kept_for_results():
        code: int | None = args.command(args)
    return code


if __name__ == "__main__":
    main()
