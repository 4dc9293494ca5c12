"""The bridge between Ray Tune and Optuna: the only writer of the study, and the only judge of a trial's final state.

Ray's own OptunaSearch tells COMPLETE whenever a metric exists, so that a trial which ASHA stopped at its first rung
becomes `study.best_trial`; and it leaves a trial whose score is NaN RUNNING for ever. Here the state is read from the
trial's own rows: end of the budget reached → COMPLETE; stopped before → PRUNED at its last rung; no score (diverged,
collapsed, infeasible) → PRUNED with a violated constraint, which TPE ranks last (a FAIL would teach it nothing); error
→ FAIL. A trial that was paused because the sweep closes has not ended: it stays open and is continued by `resume`.

A trial whose worker died is proposed again, under another of Ray's identifiers. Tune's own retry (`max_failures`) is
left at 0: a worker that dies while it is reset for its next trial ends that trial at once, whatever was allowed
(ray/tune/execution/tune_controller.py, `_process_trial_failure`: only what is RUNNING is recovered).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ray.tune.search import Searcher

from sweep.deaths import deaths_of
from sweep.ledger import Ledger, ledger_of
from sweep.limited_scheduler import Closing, LimitedScheduler
from sweep.record import Record
from sweep.resources import ask_of
from sweep.retention import KeptEncoders
from sweep.say import say
from sweep.scheduler import METRIC, bracket_of
from sweep.spec.space import trial_config
from sweep.study import Study
from sweep.trial_record import ERROR, Row, RowLog, TrialState, begin_attempt, reached

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec
    from sweep.trial_record import Trial


Room = Callable[[Sequence[Mapping[str, Any]]], bool]
"""Asked with the flat configurations of the trials that are proposed and have not ended."""
MOST_DEATHS = 3
"""Times in a row that a trial whose worker died is continued without having got any further: no new row, no new
checkpoint. Deaths with the worker's node (preempted, lost) are counted apart and have no such limit."""
MOST_ERRORS = 5
"""Trials in a row that fail by a fault before the sweep closes: it is then not theirs (data that cannot be read)."""


class Bridge(Searcher):
    """Proposes trials by `study.ask` and tells the study how each ended. One object lives for one driver."""

    def __init__(
        self,
        spec: SweepSpec,
        record: Record,
        study: Study,
        scheduler: LimitedScheduler,
        ledger: Ledger,
        closing: Closing,
        room: Room,
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._spec, self._record, self._study = spec, record, study
        self._scheduler, self._ledger, self._closing, self._room = scheduler, ledger, closing, room
        trials = record.trials()
        self._left = record.about["trials"] - len(trials)
        self._unfinished = [trial for trial in trials if trial.ended is None]
        self._kept = KeptEncoders(record, spec.keep_best)
        self._numbers: dict[str, int] = {}
        self._open: dict[str, Mapping[str, Any]] = {}
        self._deaths: Counter[int] = Counter()
        self._reached: dict[int, object] = {}
        self._errors = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial's number and flat configuration; FINISHED when all have ended.

        None while the last ones run, and while as many are proposed as there is room for: what is proposed earlier is
        proposed without the results that come in the meantime.

        Unfinished trials, of an earlier driver or of a dead worker, come first. A point that breaks a rule over several
        knobs is infeasible at once, and the next one is asked for.
        """
        for lost in self._scheduler.take_lost():
            self.on_trial_complete(lost, error=True)
        self._scheduler.close_at_limit()  # Tune asks ten times a second, also where there is no room
        if self._open and not self._room(list(self._open.values())):
            return None
        while self._unfinished and self._closing.why is None:
            trial = self._unfinished.pop(0)
            if (rules := self._broken_rules(trial.point)) is not None:
                self._finish(trial.number, "infeasible", rules)
                continue
            if self._is_over(trial):  # the driver was killed between its last row and its end
                self._end(trial.number, error=False)
                continue
            return self._begin(trial_id, trial.number, trial.config)
        while self._left > 0 and self._closing.why is None:
            self._left -= 1
            number, config = self._ask()
            if config is not None:
                return self._begin(trial_id, number, config)
        if self._numbers:  # one whose worker dies will be proposed again; after FINISHED, Tune asks no more
            return None
        return Searcher.FINISHED  # type: ignore[return-value]

    def _begin(self, trial_id: str, number: int, config: dict[str, Any]) -> dict[str, Any]:
        self._numbers[trial_id], self._open[trial_id] = number, config
        attempt = begin_attempt(self._record.trial_folder(number))
        self._record.share.hand_out(number)
        return {"number": number, "knobs": config, "attempt": attempt}

    def _is_over(self, trial: Trial) -> bool:
        last = trial.rows[-1] if trial.rows else None
        return trial.number in self._scheduler.stopped or (last is not None and (last.is_end or bool(last.failure)))

    def _ask(self) -> tuple[int, dict[str, Any] | None]:
        """A new trial, on disk when this returns; without a configuration where its point has none."""
        trial, notes = self._study.ask()
        point, number = dict(trial.params), trial.number
        config = self._spec.train.flatten() | point
        self._record.add_trial(number, point, config, bracket=bracket_of(self._spec, number), notes=notes)
        if (rules := self._broken_rules(point)) is not None:
            self._finish(number, "infeasible", rules)
            return number, None
        return number, config

    def _broken_rules(self, point: Mapping[str, Any]) -> str | None:
        """The rules over several knobs that a point breaks; None when it is a configuration."""
        try:
            trial_config(self._spec, point)
        except ValidationError as error:
            return "; ".join(str(each.get("ctx", {}).get("error", each["msg"])) for each in error.errors())
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Decide the final state from the trial's rows, write it to the record, and tell the study."""
        if trial_id not in self._numbers:
            return  # Tune may tell an end twice
        self._end(self._numbers[trial_id], error=error)
        # Not before: what could not be written is told again, as an error.
        del self._numbers[trial_id], self._open[trial_id]

    def _end(self, number: int, *, error: bool) -> None:
        self._record.share.take_back(number)
        if error:
            self._count_death(number)
        state, reason = self._judge(number, error)
        if state != "interrupted":
            self._finish(number, state, reason)
            self._count_errors(state, reason)
        elif error:
            self._unfinished.insert(0, self._record.trial(number))
            if self._closing.why is None:
                folder = self._record.trial_folder(number)
                what = "its node is gone" if deaths_of(folder).last_is_preemption else "its worker died"
                say(f"trial {number:04d}: {what}; it goes on from its last checkpoint", sys.stderr)

    def _count_death(self, number: int) -> None:
        """Count a failure in a row; that its node went is not the trial's fault, however often."""
        folder = self._record.trial_folder(number)
        now = reached(folder)
        if now != self._reached.get(number):
            self._deaths[number] = 0
        self._reached[number] = now
        self._deaths[number] += not deaths_of(folder).last_is_preemption

    def _count_errors(self, state: TrialState, reason: str | None) -> None:
        self._errors = self._errors + 1 if state == "errored" else 0
        if self._errors == MOST_ERRORS:
            last = (reason or "").strip().rpartition("\n")[2]
            self._closing.close(f"{MOST_ERRORS} trials in a row failed, the last by {last}")

    def _finish(self, number: int, state: TrialState, reason: str | None) -> None:
        self._record.end_trial(number, state, reason)
        trial = self._record.trial(number)
        self._study.tell(trial)
        self._ledger.add_busy(number, trial.busy_seconds, ask_of(self._spec.resources, trial.config).workers)
        self._ledger.add_end(number, state, trial.score)
        self._scheduler.close_at_limit()
        self._kept.add(trial)

    def _judge(self, number: int, error: bool) -> tuple[TrialState, str | None]:
        folder = self._record.trial_folder(number)
        rows = RowLog(folder).read()
        failure = folder / ERROR
        reason = failure.read_text(encoding="utf-8").strip() if failure.exists() else None
        last: Row | None = rows[-1] if rows else None
        if last is not None and last.failure:
            return last.failure, reason  # type: ignore[return-value]
        if last is not None and last.is_end:
            return "completed", None
        if reason is not None and not error:  # a process that dies may have written why it has no score, and no row
            return "errored", reason
        if number in self._scheduler.stopped:
            return "stopped", None
        if error and self._deaths[number] > MOST_DEATHS:
            return "errored", _deaths(folder)
        if error or self._closing.why is not None:
            return "interrupted", None
        return "errored", "the trial ended before its budget, and nobody stopped it"

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the truth, Ray's snapshot of the searcher is not."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into a snapshot that stsweep never reads


def _deaths(folder: Path) -> str:
    return f"{deaths_of(folder).said}\nthe worker process died {MOST_DEATHS + 1} times in a row".strip()


def make_bridge(
    spec: SweepSpec,
    record: Record,
    *,
    clock: Callable[[], float] = time.time,
    room: Room = lambda open_trials: True,
) -> tuple[Bridge, LimitedScheduler, Closing]:
    """Searcher and scheduler of a sweep, as its record stands: a new one, or one that goes on.

    Args:
        spec: the sweep's.
        record: driven by this process.
        clock: seconds; a simulation gives its own.
        room: whether another trial may be proposed beside those that are; asked again and again, for a cluster grows.
    """
    ledger, closing = ledger_of(spec, record, clock=clock), Closing(record)
    scheduler = LimitedScheduler(spec, record, ledger, closing)
    scheduler.replay(record.trials())
    study = Study(spec, record)
    return Bridge(spec, record, study, scheduler, ledger, closing, room), scheduler, closing
