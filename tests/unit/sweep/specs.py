"""What several tests of `sweep` need: a spec from its text, rows and records written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweep.record import Record, Row, RowLog, TrialState
from sweep.spec.sweep_spec import SweepSpec, load_spec

RUNGS = (64, 128, 256)
ABOUT = {"objective": "demo dev spearman", "rungs": list(RUNGS), "searched": ["loss.temperature"], "trials": 4}
STARTED = 1_000.0


def load(folder: Path, text: str, *overrides: str) -> SweepSpec:
    path = folder / "spec.yaml"
    path.write_text(text)
    return load_spec(path, overrides)


def row(index: int, score: float = 50.0, **changes: Any) -> Row:
    """A row at one of `RUNGS`: batches of 16, ten busy seconds a rung."""
    values: dict[str, Any] = {
        "rung_index": index,
        "rung": RUNGS[index],
        "step": RUNGS[index] // 16,
        "sentences": RUNGS[index],
        "score": score,
        "failure": None,
        "loss": 0.5,
        "precision": "fp32",
        "score_precision": "fp32",
        "train_seconds": 8.0 * (index + 1),
        "busy_seconds": 10.0 * (index + 1),
        "started": STARTED,
        "time": STARTED + 12.0 * (index + 1),
    }
    return Row(**values | changes)


def new_record(root: Path, name: str = "s", **about: Any) -> Record:
    """A record that this process drives until `release`."""
    return Record.create(root, name, f"name: {name}\n", ABOUT | about)


def write_trial(
    record: Record, number: int, rows: Sequence[Row], state: TrialState | None = None, reason: str | None = None
) -> Path:
    """A trial with its rows, ended in `state` unless that is None."""
    point = {"loss.temperature": 0.25 * (number + 1)}
    folder = record.add_trial(number, point, point | {"seed": 0})
    for each in rows:
        RowLog(folder).append(each)
    if state is not None:
        record.end_trial(number, state, reason)
    return folder
