"""Where a mistake that was found after the spec was read came from: a line of its file, or a `--set`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sweep.errors import Problem, Refused
from sweep.spec.fields import place_of
from sweep.spec.knobs import KNOBS
from sweep.spec.yaml_file import YamlFile, read_yaml


@contextmanager
def told_where(given: str, path: Path, changes: Sequence[str]) -> Iterator[None]:
    """Give each problem of a refusal raised in the block its place, and the next command the spec's name for SPEC.

    Args:
        given: the spec as it was typed.
        path: its file.
        changes: the `--set` texts.
    """
    try:
        yield
    except Refused as refused:
        problems = list(refused.problems)
        if any(_is_lost(problem) for problem in problems):
            document = read_yaml(path)
            problems = [_placed(problem, document, changes) for problem in problems]
        # As a word: the next command may hold the path of a file already.
        following = re.sub(r"(?<!\S)SPEC(?!\S)", lambda _: shlex.quote(given), refused.next)
        raise type(refused)(problems, following) from None


def _is_lost(problem: Problem) -> bool:
    return problem.file is None and problem.key is not None and not problem.key.startswith("--")


def _placed(problem: Problem, document: YamlFile, changes: Sequence[str]) -> Problem:
    if not _is_lost(problem):
        return problem
    key = problem.key or ""
    for change in reversed(changes):
        if f"{change.partition('=')[0].strip()}.".startswith(f"{key}."):
            return replace(problem, file=f"--set {change}")
    searched = [path for path in document.lines if path in (("search", key), ("search", *path[1:2], key))]
    parts = (int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", key))
    written = (*(("train",) if key in KNOBS else ()), *parts)
    file, line = place_of(
        {path: (document.file, line) for path, line in document.lines.items()}, (*searched, written)[0]
    )
    return replace(problem, file=file, line=line)
