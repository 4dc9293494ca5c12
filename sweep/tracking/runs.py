"""The runs of one sweep in an MLflow store: found or made, told what is new in the record, never doubled.

MLflow has no way to create a run under a name of one's own, so a request whose answer was lost (a timeout, a server
that was killed) may have made a run that nobody knows of. Every run carries the sweep's and the trial's tag from its
first moment: whoever opens `Runs` finds all of them, goes on with one of each trial and deletes any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from sweep.record import Record
from sweep.tracking.facts import STATUS, end_ms, metrics, params, sweep_status, written_ms
from sweep.tracking.sent import Notebook, Sent, SentTrial, read_sent
from sweep.trial_record import Trial

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.exceptions import MlflowException

EXPERIMENT = "stsweep"

_LONGEST_TAG = 5000  # MLflow's limit: 8,000, in older servers 5,000
_RUNS_A_PAGE = 200
_ID, _TRIAL, _STATE, _REASON = "stsweep.id", "stsweep.trial", "stsweep.state", "stsweep.reason"
_ABOUT_ONE_RUN = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


class Runs:
    """Writes one sweep to one MLflow store. Not for two threads, nor two processes, at once.

    After an exception, open it anew: what the store did with the last request is not known.

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
        created = record.about["created"]
        self._id, self._created_ms = f"{record.name}-{created:.6f}", int(created * 1000)
        self._refused: dict[int | None, tuple[object, MlflowException]] = {}
        self._experiment = self._find_experiment()
        self._find_runs()
        self._sent.experiment = self._experiment
        self._parent = self._sent.parent = self._sent.parent or self._create_parent()
        self._notebook = Notebook(record, self._sent)
        self._notebook.write()

    def send(self) -> Exception | None:
        """Send what is new in the record.

        Returns:
            None when MLflow has everything now; else what it said on a run that it does not take (deleted by someone,
            say), which keeps no other run from being sent.

        Raises:
            Exception: the store cannot be reached; everything else will be tried again.
        """
        try:
            trials = self._record.trials()
            for trial in trials:
                self._try(trial.number, (len(trial.rows), trial.state), partial(self._send_trial, trial))
                self._notebook.write_now_and_then()
            status = sweep_status(trials, driven=self._record.is_driven())
            self._try(None, status, partial(self._send_parent, trials, status))
        finally:
            self._notebook.write()
        return next((fault for _, fault in self._refused.values()), None)

    def _try(self, number: int | None, news: object, send: Callable[[], None]) -> None:
        """Send the news of one run, unless it refused just these; `number` is None for the sweep's own run."""
        from mlflow.exceptions import MlflowException

        if self._refused.get(number, (None,))[0] == news:
            return
        try:
            send()
        except MlflowException as error:
            if error.error_code not in _ABOUT_ONE_RUN:
                raise
            self._refused[number] = news, error
        else:
            self._refused.pop(number, None)

    def _find_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        return experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)

    def _find_runs(self) -> None:
        """Go on with one run of the sweep and one of each trial, and delete the others."""
        found: dict[int | None, list[Run]] = {}
        for run in self._tagged_runs():
            tag = run.data.tags.get(_TRIAL)
            found.setdefault(None if tag is None else int(tag), []).append(run)
        if self._sent.parent and None not in found and not self._exists(self._sent.parent):
            self._sent = Sent(uri=self._sent.uri)  # another database answers here than the one that was sent to
        noted = {number: trial.run for number, trial in self._sent.trials.items()}
        for number, runs in found.items():
            known = self._sent.parent if number is None else noted.get(number)
            chosen = self._only(runs, known)
            if chosen == known:
                continue
            if number is None:
                self._sent.parent, self._sent.baselines, self._sent.status = chosen, False, None
            else:
                self._sent.trials[number] = SentTrial(chosen)

    def _tagged_runs(self) -> Iterator[Run]:
        from mlflow.entities import ViewType

        mine = f"tags.`{_ID}` = '{self._id}'"
        page: str | None = None
        while page != "":
            runs = self._client.search_runs(
                [self._experiment], mine, ViewType.ALL, max_results=_RUNS_A_PAGE, page_token=page
            )
            yield from runs
            page = runs.token or ""

    def _exists(self, run: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _only(self, runs: list[Run], noted: str | None) -> str:
        """The one of several runs to go on with; the noted one when nobody deleted it. The others are deleted."""

        def rank(run: Run) -> tuple[bool, bool, int, str]:
            info = run.info
            return info.lifecycle_stage == "deleted", info.run_id != noted, info.start_time, info.run_id

        first, *others = sorted(runs, key=rank)
        for other in others:
            if other.info.lifecycle_stage == "active":
                self._client.delete_run(other.info.run_id)
        run_id: str = first.info.run_id
        return run_id

    def _create_parent(self) -> str:
        about = self._record.about
        spec = (self._record.folder / "spec.yaml").read_text(encoding="utf-8")
        tags = {
            "stsweep.spec_hash": str(about.get("spec_hash")),
            "stsweep.objective": str(about.get("objective")),
            "mlflow.note.content": f"```yaml\n{spec[: _LONGEST_TAG - 20]}\n```",  # shown as the run's description
        }
        return self._create_run(self._record.name, self._created_ms, tags)

    def _create_run(self, name: str, start_ms: int, tags: dict[str, str]) -> str:
        tags |= {_ID: self._id, "stsweep.sweep": self._record.name}
        run_id: str = self._client.create_run(self._experiment, start_ms, tags, name).info.run_id
        return run_id

    def _send_parent(self, trials: list[Trial], status: str) -> None:
        from mlflow.entities import Metric

        scores = self._record.baselines()
        if scores and not self._sent.baselines:
            known = {f"baseline.{name}": score for name, score in scores.items() if score is not None}
            # Not when they were measured, which every resume does again: sent again, they would be stored again.
            self._client.log_batch(self._parent, [Metric(name, known[name], self._created_ms, 0) for name in known])
            self._sent.baselines = True
        if status != self._sent.status:
            self._tell_status(self._parent, status, end=max([self._created_ms, *map(end_ms, trials)]))
            self._sent.status = status

    def _send_trial(self, trial: Trial) -> None:
        from mlflow.entities import RunTag

        sent = self._sent.trials.get(trial.number)
        if sent is not None and sent.knobs and (sent.rows, sent.state) == (len(trial.rows), trial.state):
            return
        if sent is None:
            tags = {_TRIAL: str(trial.number), _STATE: "running", "mlflow.parentRunId": self._parent}
            name, start_ms = f"{self._record.name}/{trial.number:04d}", written_ms(trial.folder / "trial.json")
            sent = SentTrial(self._create_run(name, start_ms, tags), state="running")
            self._sent.trials[trial.number] = sent
        measured = list(metrics(trial, sent.rows))
        told: list[RunTag] = []
        if trial.state != sent.state:
            # A traceback ends with what happened. A trial that goes on keeps no reason of its interruption.
            reason = (trial.reason or "")[-_LONGEST_TAG:]
            told = [
                RunTag(_STATE, trial.state),
                *([RunTag(_REASON, reason)] if reason or sent.state != "running" else []),
            ]
        self._client.log_batch(sent.run, measured, [] if sent.knobs else list(params(trial)), told)
        if trial.state != sent.state:
            self._tell_status(sent.run, STATUS[trial.state], end=end_ms(trial))
        sent.knobs, sent.rows, sent.state = True, len(trial.rows), trial.state
        sent.scored = sent.scored or bool(measured)

    def _tell_status(self, run: str, status: str, end: int) -> None:
        if status == "RUNNING":
            self._client.update_run(run, status)
        else:
            self._client.set_terminated(run, status, end)
