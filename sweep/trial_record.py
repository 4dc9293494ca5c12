"""What the record holds of one trial: its rows, its state; and which of several trials is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sweep.files import append_json_line, read_json, read_json_lines, write_whole

ERROR = "error.txt"
"""In a trial's folder: the traceback of what went wrong, or why it has no score."""
NO_MEMORY = "no_memory.txt"
"""In a trial's folder: its worker was killed for memory, and what Ray said."""
ATTEMPT = "attempt"
"""In a trial's folder: how often it has been given to a worker; the last one alone may write."""
BUSY = "busy.json"
"""In a trial's folder: seconds that it had run when its last checkpoint was written, or when it failed."""
FLOOR = -100.0
"""Score of a trial that has none: finite, for ASHA never stops a NaN (`nan < cutoff` is false)."""

TrialState = Literal["running", "completed", "stopped", "infeasible", "diverged", "collapsed", "errored", "interrupted"]


@dataclass(frozen=True)
class Row:
    """One evaluation of one trial.

    `rung` is the nominal place on the scheduler's axis (sentences, or seconds of training), `sentences` the actual
    number, `rung_index` the step that Optuna and MLflow see; `is_end` marks the end of the budget. `score` is ×100, or
    `FLOOR` with the reason in `failure`. `started` and `time` are seconds since the epoch; `train_seconds` and
    `busy_seconds` add up from the trial's start, waiting for Tune left out. `alignment`, `uniformity` and `spread` are
    those of `evaluation.geometry`; None of a diverged encoder. `poolings` holds the score ×100 with every pooling when
    the objective asks for it, None where one has none. `size_mb` (weights in fp32, 10⁶ bytes) and `latency_ms` (one
    sentence alone) are measured at the end when the objective asks.
    """

    rung_index: int
    rung: float
    step: int
    sentences: int
    score: float
    failure: str | None
    loss: float | None
    precision: str
    score_precision: str | None
    train_seconds: float
    busy_seconds: float
    started: float
    time: float
    alignment: float | None = None
    uniformity: float | None = None
    spread: float | None = None
    poolings: dict[str, float | None] | None = None
    is_end: bool = False
    size_mb: float | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Trial:
    """What the record says of one trial."""

    number: int
    point: dict[str, Any]
    config: dict[str, Any]
    rows: tuple[Row, ...]
    state: TrialState
    reason: str | None = None
    folder: Path = field(default=Path(), repr=False)
    ended: float | None = None
    """When the driver wrote its end, in seconds since the epoch; None while it has none."""
    busy_seconds: float = 0.0
    """How long it has run in all: until its last row, or what its worker noted later (at a checkpoint, at a fault)."""

    @property
    def score(self) -> float | None:
        """The last score, or None before the first rung."""
        return self.rows[-1].score if self.rows else None


def read_trial(folder: Path, unfinished: TrialState) -> Trial:
    """The trial of a folder. `unfinished`: its state while it has no end."""
    end = read_json(folder / "end.json") if (folder / "end.json").exists() else {}
    about = read_json(folder / "trial.json")
    rows = RowLog(folder).read()
    return Trial(
        number=about["number"],
        point=about["point"],
        config=about["config"],
        rows=rows,
        state=end.get("state", unfinished),
        reason=end.get("reason"),
        folder=folder,
        ended=end.get("time"),
        busy_seconds=busy_seconds(folder, rows),
    )


class RowLog:
    """The append-only rows of one trial."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.jsonl"

    def append(self, row: Row) -> None:
        """Write a row durably; it is on disk when this returns. A torn line of a killed writer is cut off first."""
        append_json_line(self.path, asdict(row))

    def read(self) -> tuple[Row, ...]:
        """All whole rows, in order."""
        return tuple(Row(**row) for row in read_json_lines(self.path))


def begin_attempt(folder: Path) -> int:
    """Give the trial of a folder to a worker once more, and the number of this attempt; earlier ones write no more."""
    number = attempts(folder) + 1
    write_whole(folder / ATTEMPT, str(number))
    return number


def attempts(folder: Path) -> int:
    """How often the trial of a folder has been given to a worker."""
    path = folder / ATTEMPT
    return int(path.read_text(encoding="utf-8")) if path.exists() else 0


def busy_seconds(folder: Path, rows: Sequence[Row]) -> float:
    """`Trial.busy_seconds`, of a trial's folder and its rows."""
    noted: float = read_json(folder / BUSY)["seconds"] if (folder / BUSY).exists() else 0.0
    return max(noted, rows[-1].busy_seconds if rows else 0.0)


def reached(folder: Path) -> tuple[int, int]:
    """How far the trial of a folder has got: its rows, and when its checkpoint was written (in ns; 0 without one)."""
    manifest = folder / "checkpoint" / "manifest.json"
    return len(RowLog(folder).read()), manifest.stat().st_mtime_ns if manifest.exists() else 0


def best_trial(trials: list[Trial]) -> Trial | None:
    """The completed trial (it reached the top rung) with the highest score; None if no trial completed."""
    completed = [trial for trial in trials if trial.state == "completed"]
    return min(
        completed, key=lambda trial: (-(FLOOR if trial.score is None else trial.score), trial.number), default=None
    )


def pareto_front(trials: list[Trial]) -> list[Trial]:
    """The completed trials than which none is better in one measure and as good in the other, best score first.

    The second measure is the size or the latency of the last row, lower is better; without one the front is the best.
    """
    completed = [trial for trial in trials if trial.state == "completed" and trial.rows]
    front: list[Trial] = []
    for trial in sorted(completed, key=lambda each: (-each.rows[-1].score, _second(each))):
        if not front or _second(trial) < _second(front[-1]):
            front.append(trial)
    return front


def _second(trial: Trial) -> float:
    last = trial.rows[-1]
    return next((value for value in (last.size_mb, last.latency_ms) if value is not None), 0.0)


def busy_share(trials: list[Trial], slots: int, closed_seconds: float = 0.0) -> float | None:
    """Worker busy time ÷ (slots × time from the first trial's start to the last one's end); None without rows.

    Args:
        trials: of one sweep.
        slots: trials at once.
        closed_seconds: in between, in which nobody drove the sweep; they do not count.
    """
    last = [trial.rows[-1] for trial in trials if trial.rows]
    if not last:
        return None
    span = max(row.time for row in last) - min(row.started for row in last) - closed_seconds
    return sum(row.busy_seconds for row in last) / (slots * span) if span > 0 else None
