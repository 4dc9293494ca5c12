"""Scores of several encoders as one plain table, and the aligned text that every table is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.score import Score

ABSENT = "–"


def aligned(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows of cells as text: the first `left` columns to the left, the others to the right, two spaces between."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float | None, decimals: int = 2) -> str:
    """A number, or a dash where there is none."""
    return ABSENT if value is None else f"{value:.{decimals}f}"


def score_table(scores: Mapping[str, Sequence[Score]], averages: Mapping[str, Mapping[str, float]]) -> str:
    """Encoders (rows, by name) over splits (columns, in order of first appearance): Spearman × 100, aligned text.

    A score that could not be computed shows its reason. The split is named where the table has several. The last
    columns are the averages: name → encoder → value.
    """
    columns = list(dict.fromkeys((s.task, s.split) for row in scores.values() for s in row))
    one_split = len({split for _, split in columns}) == 1
    lines = [["encoder", *(task if one_split else f"{task} {split}" for task, split in columns), *averages]]
    for name, row in scores.items():
        found = {(s.task, s.split): s for s in row}
        cells = [cell(found.get(column)) for column in columns]
        lines.append([name, *cells, *(number(values.get(name)) for values in averages.values())])
    return aligned(lines)


def cell(score: Score | None) -> str:
    """Spearman × 100, the reason why there is none, or a dash."""
    if score is None:
        return ABSENT
    return score.failure or ABSENT if score.spearman is None else number(score.spearman)
