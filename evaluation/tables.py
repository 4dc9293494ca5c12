"""Scores of several encoders as one plain table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from evaluation.score import Score

ABSENT = "–"


def score_table(scores: Mapping[str, Sequence[Score]]) -> str:
    """Encoders (rows, by name) over splits (columns, in order of first appearance): Spearman × 100, aligned text.

    A score that could not be computed shows its reason. With two columns or more a last one gives the mean, where every
    split has a score. The split is named where the table has several.
    """
    columns = list(dict.fromkeys((s.task, s.split) for row in scores.values() for s in row))
    one_split = len({split for _, split in columns}) == 1
    header = ["encoder", *(task if one_split else f"{task} {split}" for task, split in columns)]
    with_mean = len(columns) > 1
    lines = [[*header, "mean"] if with_mean else header]
    for name, row in scores.items():
        found = {(s.task, s.split): s for s in row}
        cells = [_cell(found.get(column)) for column in columns]
        lines.append([name, *cells, _mean([found.get(column) for column in columns])] if with_mean else [name, *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    )


def _cell(score: Score | None) -> str:
    if score is None:
        return ABSENT
    return score.failure or ABSENT if score.spearman is None else f"{score.spearman:.2f}"


def _mean(row: Sequence[Score | None]) -> str:
    values = [score.spearman for score in row if score is not None and score.spearman is not None]
    return f"{fmean(values):.2f}" if len(values) == len(row) else ABSENT
