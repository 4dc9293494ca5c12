"""The rungs' scheduler with what ends a sweep early, and what Ray says of a worker's death noted in the record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.deaths import note_death
from sweep.files import disk_fault, write_whole
from sweep.record import Record
from sweep.resources import ask_of
from sweep.scheduler import RungScheduler
from sweep.trial_record import NO_MEMORY

if TYPE_CHECKING:
    from sweep.ledger import Ledger
    from sweep.spec.sweep_spec import SweepSpec

_KILLED_FOR_MEMORY = "running low on memory"
"""In Ray's message (`ray.exceptions.OutOfMemoryError`), which Tune keeps as the trial's error."""


class Closing:
    """Whether a sweep closes, and why: no new trial is proposed, running ones save a checkpoint and end."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.why: str | None = None

    def close(self, why: str) -> None:
        """Begin to close; the first reason is kept."""
        if self.why is None:
            self.why = why
            self._record.pause_trials(why)


class LimitedScheduler(RungScheduler):
    """The rungs' scheduler, which also watches what the sweep has used: a limit is kept to within one evaluation.

    And it notices what Tune tells nobody: a trial whose worker could not be reset for it is failed by
    `TuneController._on_trial_reset` (ray 2.60) without a word to the searcher, which would wait for it for ever.
    """

    def __init__(self, spec: SweepSpec, record: Record, ledger: Ledger, closing: Closing) -> None:
        super().__init__(spec)
        self._record, self._ledger, self._closing = record, ledger, closing
        self._open: dict[str, Any] = {}
        self._unstarted: dict[str, Any] = {}
        """Those of the open ones that have not been seen to run."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        self._open[trial.trial_id] = self._unstarted[trial.trial_id] = trial
        self._note_running()

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, trial, result)
        self._drop(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, trial)
        self._drop(trial)

    def _drop(self, trial: Any) -> None:
        self._open.pop(trial.trial_id, None)
        self._unstarted.pop(trial.trial_id, None)
        self._ledger.add_pause(trial.config["number"])

    def _note_running(self) -> None:
        """Tune tells nobody when a trial that it has taken gets its worker.

        Of one with several workers it does not know: they may still wait for their nodes. Such a trial's time counts
        from its first report on, with all that it used before.
        """
        for trial in [trial for trial in self._unstarted.values() if trial.status == "RUNNING"]:
            if self._workers(trial) > 1:
                continue
            self._ledger.add_start(trial.config["number"], self._workers(trial))
            del self._unstarted[trial.trial_id]

    def _workers(self, trial: Any) -> int:
        return ask_of(self._spec.resources, trial.config["knobs"]).workers

    def close_at_limit(self) -> None:
        """Close the sweep when a limit of its own is reached."""
        self._note_running()
        if self._closing.why is None and (why := self._ledger.reason_to_close()):
            self._closing.close(why)

    def take_lost(self) -> list[str]:
        """Ray's identifiers of the trials that Tune has failed so, each once."""
        lost = [trial for trial in self._open.values() if trial.status == "ERROR"]
        for trial in lost:
            self.on_trial_error(None, trial)
        return [trial.trial_id for trial in lost]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        action = super().on_trial_result(tune_controller, trial, result)
        number, workers = trial.config["number"], self._workers(trial)
        self._ledger.add_busy(number, result["busy_seconds"], workers)
        self._ledger.add_start(number, workers)
        self._unstarted.pop(trial.trial_id, None)
        self._record.share.note(number)
        self.close_at_limit()
        return action

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died, and the sweep continues its trial.

        One that Ray's memory monitor killed is not run again, only to be killed again. Where a disk is full or
        fails, the sweep closes.
        """
        super().on_trial_error(tune_controller, trial)
        self._drop(trial)
        error = _error_text(trial)
        if why := disk_fault(error):
            self._closing.close(why)
            return
        folder = self._record.trial_folder(trial.config["number"])
        note_death(folder, error)
        if _KILLED_FOR_MEMORY in error:
            write_whole(folder / NO_MEMORY, error)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher


def _error_text(trial: Any) -> str:
    """What Tune noted of a trial's deaths. Its `get_error` reads the synced copy, which comes later if at all."""
    path = Path(trial.error_file)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
