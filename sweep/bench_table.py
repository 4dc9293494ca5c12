"""What `stsweep bench` found, as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from evaluation.tables import ABSENT, aligned, cell

if TYPE_CHECKING:
    from evaluation.score import Score


@dataclass(frozen=True)
class Measured:
    """One encoder in one precision, in a process of its own."""

    device: str
    """`cpu` or `cuda`."""
    file_bytes: int
    """The weights' file in that precision."""
    sentences_per_second: float
    """Median over the passes."""
    latency_ms_median: float
    """One sentence a call, tokenisation included."""
    latency_ms_p95: float
    memory_bytes: int
    """Peak above the process before the encoder was loaded; on a GPU, the GPU's memory."""
    process_bytes: int
    """Peak resident memory of the whole process."""
    scores: Sequence[Score]


@dataclass(frozen=True)
class BenchRow:
    """One line of the table: numbers, or why there are none."""

    model: str
    pooling: str
    precision: str
    parameters: int
    """Of the transformer."""
    measured: Measured | None
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        head = {key: getattr(self, key) for key in ("model", "pooling", "precision", "parameters", "failure")}
        if self.measured is None:
            return head
        numbers = {field.name: getattr(self.measured, field.name) for field in fields(self.measured)}
        return head | numbers | {"scores": [score.to_json() for score in self.measured.scores]}


@dataclass(frozen=True)
class Conditions:
    """How everything was measured."""

    threads: int
    sentences: int
    """In a pass."""
    passes: int
    calls: int
    """Of one sentence each."""
    versions: dict[str, str]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchTable:
    """The first row is what the others are compared with."""

    rows: Sequence[BenchRow]
    conditions: Conditions

    def to_json(self) -> dict[str, Any]:
        """`rows`: one entry a model and precision, a failed one without numbers; `conditions`."""
        return {"rows": [row.to_json() for row in self.rows], "conditions": asdict(self.conditions)}

    def to_text(self) -> str:
        """One line a model and precision; `×` is against the first line."""
        tasks = next(([s.name for s in row.measured.scores] for row in self.rows if row.measured), [])
        header = ["model", "precision", "parameters", "file MB", "×", "sentences/s", "×", "ms", "p95 ms"]
        lines = [[*header, "memory MB", "process MB", *tasks]]
        lines += [self._cells(row, len(tasks)) for row in self.rows]
        return "\n".join([aligned(lines, left=2), "", *self._notes()])

    def _cells(self, row: BenchRow, tasks: int) -> list[str]:
        head = [row.model, row.precision, f"{row.parameters / 1e6:.1f} M"]
        found, first = row.measured, self.rows[0].measured
        if found is None:
            return [*head, *[ABSENT] * (8 + tasks)]
        return [
            *head,
            f"{found.file_bytes / 1e6:.1f}",
            _ratio(found.file_bytes, first.file_bytes if first else None),
            f"{found.sentences_per_second:.0f}",
            _ratio(found.sentences_per_second, first.sentences_per_second if first else None),
            f"{found.latency_ms_median:.1f}",
            f"{found.latency_ms_p95:.1f}",
            f"{found.memory_bytes / 1e6:.0f}",
            f"{found.process_bytes / 1e6:.0f}",
            *map(cell, found.scores),
        ]

    def _notes(self) -> list[str]:
        about = self.conditions
        devices = " and ".join(sorted({row.measured.device for row in self.rows if row.measured})) or ABSENT
        poolings = ", ".join(dict.fromkeys(f"{row.model} {row.pooling}" for row in self.rows))
        return [
            f"{devices}, {about.threads} thread{'s' * (about.threads > 1)}; "
            + ", ".join(f"{name} {version}" for name, version in about.versions.items()),
            f"sentences/s: {about.sentences} sentences of the demonstration corpus, median of {about.passes} passes; "
            f"ms: median and 95th percentile of {about.calls} calls with one sentence",
            "memory: peak above the process before the encoder was loaded; process: peak with all libraries; "
            "MB: 10⁶ bytes; ×: against the first line",
            "tasks: Spearman × 100",
            f"pooling: {poolings}",
            *about.remarks,
            *(f"{row.model} {row.precision}: not measured: {row.failure}" for row in self.rows if row.failure),
        ]


def _ratio(value: float, first: float | None) -> str:
    return ABSENT if not first else f"{value / first:.2f}"
