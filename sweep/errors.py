"""What the command line may answer: exit codes, problems, and the refusals that carry them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Every exit code of the command line; nothing else defines one."""

    DONE = 0
    NONE_COMPLETED = 1
    REFUSED = 2
    UNREACHABLE = 3
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True)
class Problem:
    """One mistake: what was given and what is allowed, where, and under which dotted key.

    `file` is a path, or the `--set KEY=VALUE` that brought the value in (then there is no line). `remedy` is what to do
    about this one, where the message does not say so itself.
    """

    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        place = self.file if self.file is None or self.line is None else f"{self.file}:{self.line}"
        said = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return ": ".join(part for part in (place, self.key, said) if part)


class Refused(Exception):  # noqa: N818  a refusal is an answer, not a fault of the program
    """The command does not start: all the problems that were found, and the next command to type."""

    exit_code = Exit.REFUSED

    def __init__(self, problems: Sequence[Problem], next: str) -> None:
        # Sorted by line so that a person reads them in the order of the file; overrides have no line and come last.
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line is None, problem.line or 0)))
        self.next = next
        super().__init__(self.problems, next)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems:", *("  " + line.replace("\n", "\n  ") for line in lines)]
        return "\n".join([*lines, f"Next: {self.next}"])


class Unreachable(Refused):
    """Refused only because something elsewhere (a model, a server, a cluster) cannot be reached, or is locked."""

    exit_code = Exit.UNREACHABLE


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`"; did you mean X?"` for the closest of `allowed`, or `""` when none is close.

    A dotted name is also found by its last part: `learning_rate` → `optim.learning_rate`; and one by its beginning:
    `gpus` → `gpus_per_worker`.
    """
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    begun = [candidate for lower, candidate in by_lower.items() if lower.startswith(f"{name.lower()}_")]
    if len(begun) == 1:
        return f"; did you mean {begun[0]}?"
    for known in (by_lower, {lower.rpartition(".")[2]: candidate for lower, candidate in by_lower.items()}):
        for wanted in (name.lower(), name.lower().rpartition(".")[2]):
            if close := difflib.get_close_matches(wanted, known, n=1):
                return f"; did you mean {known[close[0]]}?"
    return ""
