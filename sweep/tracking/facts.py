"""A sweep in MLflow's words: parameters, metrics, statuses and times. All are the same however often they are asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.trial_record import FLOOR, Row, Trial, TrialState

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param

STATUS: dict[TrialState, str] = {
    "running": "RUNNING",
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "infeasible": "FAILED",
    "diverged": "FAILED",
    "collapsed": "FAILED",
    "errored": "FAILED",
    "interrupted": "KILLED",
}
"""Trial state → MLflow's status of its run; the state itself is the tag `stsweep.state`."""

_LONGEST_PARAM = 6000  # MLflow's limit


def param_text(value: Any) -> str:
    """A knob as MLflow keeps it: text as it is, anything else as in JSON, cut to what MLflow takes."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 1] + "…"


def params(trial: Trial) -> Iterator[Param]:
    """Every knob, under its dotted name."""
    from mlflow.entities import Param

    for name, value in trial.config.items():
        yield Param(name, param_text(value))


def metrics(trial: Trial, sent_rows: int) -> Iterator[Metric]:
    """What the rows after the first `sent_rows` measured, at their rung index and their own time."""
    from mlflow.entities import Metric

    for row in trial.rows[sent_rows:]:
        for name, value in _measured(row).items():
            if value is not None:
                yield Metric(name, value, int(row.time * 1000), row.rung_index)
    if not trial.rows and STATUS[trial.state] == "FAILED":
        # The comparison page draws only the metrics that every one of its runs has: without a score here, no trial
        # of the sweep would have a score axis.
        yield Metric("score", FLOOR, end_ms(trial), 0)


def _measured(row: Row) -> dict[str, float | None]:
    return {
        "score": row.score,  # first: the comparison page opens with the first metric that all of its runs have
        "loss": row.loss,
        "sentences": row.sentences,
        "train_seconds": row.train_seconds,
        "busy_seconds": row.busy_seconds,
        "alignment": row.alignment,
        "uniformity": row.uniformity,
        "spread": row.spread,
        "size_mb": row.size_mb,
        "latency_ms": row.latency_ms,
        **{f"pooling.{name}": score for name, score in (row.poolings or {}).items()},
    }


def sweep_status(trials: list[Trial], *, driven: bool) -> str:
    """The status of the parent run."""
    states = {trial.state for trial in trials}
    if driven or "running" in states:
        return "RUNNING"
    if "interrupted" in states or not trials:
        return "KILLED"
    return "FINISHED" if "completed" in states else "FAILED"


def end_ms(trial: Trial) -> int:
    """When a trial ended, as far as the record knows; milliseconds since the epoch."""
    ended = trial.ended or max((row.time for row in trial.rows), default=None)
    return written_ms(trial.folder / "trial.json") if ended is None else int(ended * 1000)


def written_ms(path: Path) -> int:
    """When a file was written; milliseconds since the epoch."""
    return int(path.stat().st_mtime * 1000)
