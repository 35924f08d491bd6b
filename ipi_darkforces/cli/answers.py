"""All that was found out about a question, for a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..analysis.statements import Statement, Verdict
from .question import Question, Row


@dataclass
class Answers:
    """What was found out about a question.

    :param question: which
    :param found: the answers, for those runs for which there is one
    :param missing: why there is none, by the names of the other runs
    """

    question: Question
    found: list[Any] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def statements(self, answer: Any) -> list[Statement]:
        """What an answer amounts to, compared with that for the first run."""
        return self.question.says(answer, None if answer is self.found[0] else self.found[0])

    def verdict(self, name: str) -> Verdict | None:
        """What all statements about a run amount to; None if there is no answer for it."""
        found = [each.verdict for answer in self.found if answer.name == name for each in self.statements(answer)]
        return max(found, default=None)

    def rows(self) -> list[Row]:
        """The table of all runs."""
        return [row for answer in self.found for row in self.question.rows(answer)]

    def as_json(self) -> dict[str, object]:
        """For machines: as without a report, with what was said and what is missing."""
        return {
            "question": self.question.name,
            "runs": [
                {**answer.as_json(), "statements": [each.text for each in self.statements(answer)]}
                for answer in self.found
            ],
            "missing": self.missing,
        }
