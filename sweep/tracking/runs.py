"""The runs of one sweep in MLflow: what a trial is there, and what has been sent of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.record import FLOOR, Record, Row, Trial, TrialState, write_whole

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag

EXPERIMENT = "stsweep"
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

_LONGEST_PARAM, _LONGEST_TAG = 6000, 5000  # MLflow's limits; a tag may be 8,000 long, in older servers 5,000
_PARAMS_A_BATCH, _METRICS_A_BATCH = 100, 1000  # MLflow's limits
_ID, _TRIAL, _STATE, _REASON = "stsweep.id", "stsweep.trial", "stsweep.state", "stsweep.reason"
_ABOUT_ONE_RUN = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


@dataclass
class SentTrial:
    """What MLflow has of one trial: its run, how many rows, the state last told, and whether it has a score."""

    run: str
    knobs: bool = False
    rows: int = 0
    state: str | None = None
    scored: bool = False


@dataclass
class Sent:
    """What MLflow has of a sweep: the contents of `mlflow.json`. `uri` is None for the database of the root."""

    uri: str | None = None
    experiment: str | None = None
    parent: str | None = None
    baselines: bool = False
    status: str | None = None
    trials: dict[int, SentTrial] = field(default_factory=dict)


def read_sent(record: Record) -> Sent:
    """What was sent of a sweep so far; nothing before its first round."""
    path = _path(record)
    if not path.exists():
        return Sent()
    said = json.loads(path.read_text(encoding="utf-8"))
    trials = {int(number): SentTrial(**trial) for number, trial in said.pop("trials").items()}
    return Sent(**said, trials=trials)


def _path(record: Record) -> Path:
    return record.folder / "mlflow.json"


class Runs:
    """Writes one sweep to one MLflow store. Not for two threads, nor two processes, at once.

    Args:
        record: the sweep.
        uri: MLflow's server or database.
        in_root: whether that is the database of the sweeps' root, which may be moved together with the record.

    Raises:
        Exception: whatever MLflow's client raises when the store cannot be reached.
    """

    def __init__(self, record: Record, uri: str, *, in_root: bool) -> None:
        from mlflow import MlflowClient

        self._record, self._client = record, MlflowClient(uri)
        kept = None if in_root else uri
        self._sent = read_sent(record)
        if self._sent.uri != kept:
            self._sent = Sent(uri=kept)
        self._id = f"{record.name}-{record.about['created']:.6f}"
        self._experiment = self._sent.experiment = self._find_experiment()
        self._find_lost_runs()
        self._parent = self._sent.parent = self._sent.parent or self._create_parent()
        self._keep()

    def send(self) -> Exception | None:
        """Send what is new in the record.

        Returns:
            None when MLflow has everything now; else what it said on a run that it does not take (deleted by someone,
            say), which keeps no other run from being sent.

        Raises:
            Exception: the store cannot be reached; everything else will be tried again.
        """
        from mlflow.exceptions import MlflowException

        fault: Exception | None = None
        trials = self._record.trials()
        self._send_baselines()
        for trial in trials:
            try:
                self._send_trial(trial)
            except MlflowException as error:
                if error.error_code not in _ABOUT_ONE_RUN:
                    raise
                fault = error
        status = _sweep_status(trials, driven=self._record.is_driven())
        if status != self._sent.status:
            started = _written_ms(self._record.folder / "spec.yaml")
            self._tell_status(self._parent, status, end_ms=max([started, *map(_end_ms, trials)]))
            self._sent.status = status
            self._keep()
        return fault

    def _find_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        return experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)

    def _find_lost_runs(self) -> None:
        """Adopt runs that a dead process made and could not note down any more."""
        page: str | None = None
        while True:
            found = self._client.search_runs(
                [self._experiment], f"tags.`{_ID}` = '{self._id}'", max_results=1000, page_token=page
            )
            for run in found:
                number = run.data.tags.get(_TRIAL)
                if number is None:
                    self._sent.parent = self._sent.parent or run.info.run_id
                else:
                    self._sent.trials.setdefault(int(number), SentTrial(run.info.run_id))
            page = found.token
            if not page:
                return

    def _create_parent(self) -> str:
        about = self._record.about
        spec = (self._record.folder / "spec.yaml").read_text(encoding="utf-8")
        tags = {
            _ID: self._id,
            "stsweep.sweep": self._record.name,
            "stsweep.spec_hash": str(about.get("spec_hash")),
            "stsweep.objective": str(about.get("objective")),
            "mlflow.note.content": f"```yaml\n{spec[: _LONGEST_TAG - 20]}\n```",  # shown as the run's description
        }
        run = self._client.create_run(self._experiment, int(about["created"] * 1000), tags, self._record.name)
        run_id: str = run.info.run_id
        return run_id

    def _send_baselines(self) -> None:
        from mlflow.entities import Metric

        scores = self._record.baselines()
        if self._sent.baselines or not scores:
            return
        at = _written_ms(self._record.folder / "baselines.json")
        metrics = [Metric(f"baseline.{name}", score, at, 0) for name, score in scores.items() if score is not None]
        self._client.log_batch(self._parent, metrics=metrics)
        self._sent.baselines = True
        self._keep()

    def _send_trial(self, trial: Trial) -> None:
        from mlflow.entities import RunTag

        sent = self._sent.trials.get(trial.number)
        if sent is not None and sent.knobs and (sent.rows, sent.state) == (len(trial.rows), trial.state):
            return
        if sent is None:
            sent = self._sent.trials[trial.number] = SentTrial(self._create_run(trial))
            self._keep()
        if not sent.knobs:
            params = list(_params(trial))
            for begin in range(0, len(params), _PARAMS_A_BATCH):
                self._client.log_batch(sent.run, params=params[begin : begin + _PARAMS_A_BATCH])
            sent.knobs = True
        metrics = list(_metrics(trial, sent.rows))
        tags: list[RunTag] = []
        if trial.state != sent.state:
            tags = [RunTag(_STATE, trial.state)]
            if trial.reason:
                tags.append(RunTag(_REASON, trial.reason[-_LONGEST_TAG:]))  # a traceback ends with what happened
        for begin in range(0, max(1, len(metrics)), _METRICS_A_BATCH):
            self._client.log_batch(sent.run, metrics=metrics[begin : begin + _METRICS_A_BATCH], tags=tags)
        if trial.state != sent.state:
            self._tell_status(sent.run, STATUS[trial.state], end_ms=_end_ms(trial))
        sent.rows, sent.state, sent.scored = len(trial.rows), trial.state, sent.scored or bool(metrics)
        self._keep()

    def _create_run(self, trial: Trial) -> str:
        tags = {
            _ID: self._id,
            _TRIAL: str(trial.number),
            "stsweep.sweep": self._record.name,
            "mlflow.parentRunId": self._parent,
        }
        started = _written_ms(trial.folder / "trial.json")
        run = self._client.create_run(self._experiment, started, tags, f"{self._record.name}/{trial.number:04d}")
        run_id: str = run.info.run_id
        return run_id

    def _tell_status(self, run: str, status: str, end_ms: int) -> None:
        if status == "RUNNING":
            self._client.update_run(run, status)
        else:
            self._client.set_terminated(run, status, end_ms)

    def _keep(self) -> None:
        write_whole(_path(self._record), json.dumps(asdict(self._sent), indent=1) + "\n")


def param_text(value: Any) -> str:
    """A knob as MLflow keeps it: text as it is, anything else as in JSON, cut to what MLflow takes."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 1] + "…"


def _params(trial: Trial) -> Iterator[Param]:
    from mlflow.entities import Param

    for name, value in trial.config.items():
        yield Param(name, param_text(value))


def _metrics(trial: Trial, sent_rows: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for row in trial.rows[sent_rows:]:
        for name, value in _measured(row).items():
            if value is not None:
                yield Metric(name, value, int(row.time * 1000), row.rung_index)
    if not trial.rows and STATUS[trial.state] == "FAILED":
        # The comparison page draws only the metrics that every one of its runs has: without a score here, no trial
        # of the sweep would have a score axis.
        yield Metric("score", FLOOR, _end_ms(trial), 0)


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
        **{f"pooling.{name}": score for name, score in (row.poolings or {}).items()},
    }


def _sweep_status(trials: list[Trial], *, driven: bool) -> str:
    states = {trial.state for trial in trials}
    if driven or "running" in states:
        return "RUNNING"
    if "interrupted" in states or not trials:
        return "KILLED"
    return "FINISHED" if "completed" in states else "FAILED"


def _end_ms(trial: Trial) -> int:
    """When a trial ended, as far as the record knows; the same however often it is asked."""
    files = [trial.folder / name for name in ("trial.json", "rows.jsonl", "end.json")]
    return max(_written_ms(file) for file in files if file.exists())


def _written_ms(path: Path) -> int:
    return int(path.stat().st_mtime * 1000)
