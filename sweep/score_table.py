"""What `stsweep eval` found, as text for a person and as plain data for `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from evaluation.tables import ABSENT, aligned, cell, number, score_table

if TYPE_CHECKING:
    from evaluation.bootstrap import Interval
    from evaluation.compare import Difference
    from evaluation.probe import TransferScore
    from evaluation.score import Score

SURE = 0.05
"""Differences with a smaller p are told as such."""
_LEGEND = (
    "mean, wmean: over the subsets, plain and weighted by pairs; alignment: distance² of pairs above 4, lower is closer"
    "; uniformity: lower is more even; spread: 0 collapsed, 1 even"
)


@dataclass(frozen=True)
class Row:
    """One encoder with one pooling."""

    encoder: str
    """Its name in the tables."""
    pooling: str | None
    scores: Sequence[Score]
    transfer: Sequence[TransferScore] = ()


@dataclass(frozen=True)
class ScoreTable:
    """Scores of several encoders, in the order of the tables."""

    rows: Sequence[Row]
    groups: Mapping[str, Sequence[str]]
    """Average → the tasks whose test scores it is the mean of."""
    intervals: Mapping[str, Mapping[str, Interval | None]] = field(default_factory=dict)
    """Encoder → task and split, or average → its 95 % interval."""
    against: str | None = None
    differences: Mapping[str, Mapping[str, Difference | None]] = field(default_factory=dict)
    """Encoder → task and split, or average → how it differs from `against`."""
    resamples: int = 0

    def averages(self) -> dict[str, dict[str, float]]:
        """Average → encoder → mean × 100, of the encoders that have a test score on all of its tasks."""
        found: dict[str, dict[str, float]] = {}
        for average, tasks in self.groups.items():
            for row in self.rows:
                values = _test_scores(row)
                if all(task in values for task in tasks):
                    found.setdefault(average, {})[row.encoder] = fmean(values[task] for task in tasks)
        return found

    def to_json(self) -> dict[str, Any]:
        """`scores` and `transfer`: one entry an encoder and task; `averages`; `differences`, if asked for."""
        scores = [
            self._about(row) | score.to_json() | {"interval": self._interval(row, score.name)}
            for row in self.rows
            for score in row.scores
        ]
        transfer = [
            self._about(row) | score.to_json() | {"interval": self._interval(row, score.task)}
            for row in self.rows
            for score in row.transfer
        ]
        averages = {
            average: [
                {"encoder": row.encoder, "mean": values[row.encoder], "interval": self._interval(row, average)}
                for row in self.rows
                if row.encoder in values
            ]
            for average, values in self.averages().items()
        }
        differences = [
            {"encoder": encoder, "against": self.against, "of": name} | (asdict(one) if one else {"difference": None})
            for encoder, found in self.differences.items()
            for name, one in found.items()
        ]
        return {
            "scores": scores,
            "transfer": transfer,
            "averages": averages,
            "differences": differences,
            "resamples": self.resamples,
        }

    def to_text(self) -> str:
        parts = [self._details(), self._transfer()]
        if len({score.name for row in self.rows for score in row.scores}) > 1:
            averages = {name: values for name, values in self.averages().items() if name != "transfer"}
            table = score_table({row.encoder: row.scores for row in self.rows}, averages)
            parts.append(f"Spearman × 100, all pairs of a task together\n{table}")
        parts += [self._averages(), self._differences()]
        poolings = ", ".join(
            f"{row.encoder} {row.pooling}" for row in self.rows if row.pooling not in (None, row.encoder)
        )
        parts.append(f"pooling: {poolings}" if poolings else "")
        return "\n\n".join(part for part in parts if part)

    def _about(self, row: Row) -> dict[str, Any]:
        return {"encoder": row.encoder, "pooling": row.pooling}

    def _interval(self, row: Row, name: str) -> list[float] | None:
        found = self.intervals.get(row.encoder, {}).get(name)
        return [found.low, found.high] if found else None

    def _range(self, row: Row, name: str) -> str:
        found = self._interval(row, name)
        return ABSENT if found is None else f"{found[0]:.2f} … {found[1]:.2f}"

    def _details(self) -> str:
        """Every measure of every score; encoders stand below one another for each task."""
        lines = []
        for name in dict.fromkeys(score.name for row in self.rows for score in row.scores):
            for row in self.rows:
                for score in row.scores:
                    if score.name != name:
                        continue
                    measures = (score.spearman_mean, score.spearman_wmean, score.pearson)
                    geometry = (score.alignment, score.uniformity, score.spread)
                    lines.append(
                        [
                            *(name, row.encoder, f"{score.pairs:,}", cell(score), self._range(row, name)),
                            *map(number, measures),
                            *(number(value, 3) for value in geometry),
                        ]
                    )
        if not lines:
            return ""
        header = ["task", "encoder", "pairs", "Spearman", "95 %", "mean", "wmean", "Pearson"]
        return aligned([[*header, "alignment", "uniformity", "spread"], *lines], left=2) + f"\n{_LEGEND}"

    def _transfer(self) -> str:
        lines = []
        for task in dict.fromkeys(score.task for row in self.rows for score in row.transfer):
            for row in self.rows:
                for score in row.transfer:
                    if score.task == task:
                        accuracy = score.failure or number(score.accuracy)
                        measures = (number(score.dev_accuracy), number(score.f1))
                        lines.append(
                            [task, row.encoder, f"{score.examples:,}", accuracy, self._range(row, task), *measures]
                        )
        header = ["task", "encoder", "examples", "accuracy", "95 %", "dev", "F1"]
        return aligned([header, *lines], left=2) if lines else ""

    def _averages(self) -> str:
        said = []
        for average, values in self.averages().items():
            said.append(f"{average}: mean over the test sets of {', '.join(self.groups[average])}")
            for row in self.rows:
                if row.encoder in values:
                    sure = self._interval(row, average)
                    interval = f" ({sure[0]:.2f} … {sure[1]:.2f})" if sure else ""
                    said.append(f"  {row.encoder} {values[row.encoder]:.2f}{interval}")
        return "\n".join(said)

    def _differences(self) -> str:
        return "\n\n".join(self._compared(encoder, found) for encoder, found in self.differences.items())

    def _compared(self, encoder: str, found: Mapping[str, Difference | None]) -> str:
        lines = [["", "difference", "95 %", "p", "p (Holm)", ""]]
        for name, one in found.items():
            if one is None:
                lines.append([name, ABSENT, ABSENT, ABSENT, ABSENT, "cannot be told"])
                continue
            holm = ABSENT if one.p_holm is None else f"{one.p_holm:.4f}"
            lines.append(
                [
                    *(name, f"{one.difference:+.2f}", f"{one.low:+.2f} … {one.high:+.2f}", f"{one.p:.4f}", holm),
                    self._verdict(encoder, one),
                ]
            )
        missing = [name for name in self._names() if name not in found]
        note = f"\nnot compared, for lack of a score: {', '.join(missing)}" if missing else ""
        title = (
            f"{encoder} minus {self.against}, paired, {self.resamples:,} resamples; Holm's correction over the tasks"
        )
        meaning = "intervals are not corrected; the verdict on a task goes by p (Holm), on an average by its p"
        return f"{title}\n{aligned(lines)}\n{meaning}{note}"

    def _names(self) -> list[str]:
        rows = self.rows[:1]
        return [*(s.name for row in rows for s in row.scores), *(s.task for row in rows for s in row.transfer)]

    def _verdict(self, encoder: str, one: Difference) -> str:
        p = one.p if one.p_holm is None else one.p_holm
        if p >= SURE:
            return "no difference shown"
        return f"{encoder if one.difference > 0 else self.against} is higher"


def _test_scores(row: Row) -> dict[str, float]:
    """Task → its test score × 100."""
    found = {score.task: score.spearman for score in row.scores if score.split == "test"}
    found |= {score.task: score.accuracy for score in row.transfer}
    return {task: value for task, value in found.items() if value is not None}
