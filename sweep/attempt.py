"""One attempt at a trial: train from its last checkpoint on, score at every rung, write the row, report it.

A row is on disk before Tune hears of it: Ray's clean-up waits for nobody, so what is not written by then is lost. A
score that does not exist (a diverged loss, collapsed embeddings, no memory) becomes `FLOOR` with its reason; NaN never
leaves the worker, since ASHA would never stop it.

A checkpoint costs three times the weights, so one is written only when the sweep pauses, and when so many seconds of
training have gone by that they are worth keeping.

On several ranks every one makes the attempt. The first alone reads and writes the trial's folder, looks for the pause
and hears what Tune decides; the others do as it says.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model.config import TrainConfig
from sweep.breaks import Breaks
from sweep.files import disk_fault, write_json, write_whole
from sweep.measure import WHY, Measured, latency_ms, measure, size_mb
from sweep.no_score import NoMemoryError, state_without_score
from sweep.stopwatch import Stopwatch
from sweep.trial_folder import SupersededError, check_newest, checkpoint_fault, keep_error, save_whole, tidy
from sweep.trial_record import BUSY, FLOOR, NO_MEMORY, Row, RowLog, TrialState, busy_seconds

if TYPE_CHECKING:
    from evaluation.pairs import Pairs
    from model.ranks import Ranks
    from model.training import Progress
    from sweep.trial import Job

Report = Callable[[dict[str, Any]], None]
REPORTED = ("rung", "score", "rung_index", "failure", "is_end", "busy_seconds")  # what Tune is told of a row


def attempt(
    job: Job,
    folder: Path,
    knobs: Mapping[str, Any],
    report: Report,
    *,
    number: int | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Train one configuration and report every rung, from the trial's checkpoint on if there is a whole one.

    Returns when the budget is used, when there is no score to go on with, or when the sweep pauses. A rung that has its
    row from an earlier attempt is reported from that row.

    Args:
        job: what the sweep's trials share.
        folder: the trial's own, for its rows, its encoder, its checkpoint and what went wrong.
        knobs: the flat configuration.
        report: hands a row to the scheduler and returns when the trial may go on. Tune ends a stopped trial from
            inside it by SystemExit (ray/train/_internal/session.py, `_report_training_result`), which passes. Of
            several ranks the first one's is called, and all leave by SystemExit.
        number: of this attempt at the trial, as the driver counts them. None: nobody else makes one.
        ranks: who makes it together. None: this process alone.

    Raises:
        Exception: whatever went wrong that is no known failure; the traceback is in `error.txt` by then, unless a
            disk failed. On several ranks every failure, and nothing is written but how long it took: what one rank
            fails by the others may not know, so none can wait for them.
        SupersededError: a later attempt has begun.
    """
    from model.device import free_memory
    from model.ranks import ALONE

    trial, ranks = None, ranks or ALONE
    state: TrialState | None = None
    try:
        trial = _Attempt(job, folder, TrainConfig.from_flat(knobs), report, number, ranks)
        trial.run()
    except SupersededError:
        raise
    except Exception as error:
        state, reason = state_without_score(error), str(error)
        if ranks.are_several or trial is None or state is None:
            if disk_fault(error) is None and ranks.is_first:  # else this cannot be written either
                if not ranks.are_several:
                    keep_error(folder, traceback.format_exc())
                if trial is not None:
                    trial.note_busy()
            raise
    finally:
        free_memory()
    if trial is not None and state is not None:
        trial.fail(state, reason)


def fail(
    job: Job, folder: Path, knobs: Mapping[str, Any], report: Report, state: TrialState, reason: str, number: int | None
) -> None:
    """Write and report the row of a trial that has no score, after its ranks have ended.

    Raises:
        SupersededError: as `attempt`.
    """
    from model.ranks import ALONE

    config, rows = TrainConfig.from_flat(knobs), RowLog(folder).read()
    precision = rows[-1].precision if rows else config.precision  # this process may have no GPU, where the ranks had
    _Attempt(job, folder, config, report, number, ALONE, precision).fail(state, reason)


class _Attempt:
    """One run of a trial. Holds no encoder: an exception's traceback outlives the run, and with it this object."""

    def __init__(
        self,
        job: Job,
        folder: Path,
        config: TrainConfig,
        report: Report,
        number: int | None,
        ranks: Ranks,
        precision: str | None = None,
    ) -> None:
        from model.device import choose_device
        from model.precision import resolve_precision

        self._job, self._folder, self._config, self._report = job, folder, config, report
        self._number, self._ranks = number, ranks
        self._precision = precision or resolve_precision(config.precision, choose_device(None))
        self._checkpoint = folder / "checkpoint"
        self._log = RowLog(folder)
        self._written = list(ranks.from_first(self._log.read() if ranks.is_first else ()))
        # A failure that ended an earlier attempt counts for nothing: this one gets there again.
        self._scored = {row.rung_index: row for row in self._written if row.failure is None}
        self._watch = Stopwatch(self._written, busy_seconds(folder, self._written))
        self._breaks = Breaks(job.pause, job.checkpoint_seconds)
        self._last_scored = last = self._scored[max(self._scored)] if self._scored else None
        self._reached: dict[str, Any] = {
            "step": last.step if last else 0,
            "sentences": last.sentences if last else 0,
            "loss": last.loss if last else None,
            "train_seconds": last.train_seconds if last else 0.0,
        }

    def run(self) -> None:
        """Until the end, a failure or a pause."""
        from evaluation.tasks import load_pairs

        if self._ranks.agree(self._breaks.paused):
            return
        if self._ranks.is_first:
            tidy(self._folder)
        if self._last_scored is not None and self._last_scored.is_end:
            self._tell(self._last_scored)  # the process died before Tune heard of it
            return
        no_memory = self._folder / NO_MEMORY  # the first rank's alone, where the record is at a URI
        if self._ranks.agree(no_memory.exists):
            why = no_memory.read_text(encoding="utf-8").strip() if self._ranks.is_first else ""
            raise NoMemoryError(self._ranks.from_first(why))
        last: Progress | None = None
        try:
            pairs = load_pairs(self._job.task, self._job.split, self._job.data_dir)
            with closing(self._train()) as training:  # an exception from `report` must not leave it open
                for last in training:
                    self._breaks.hold()
                    reached = self._row_at(last, pairs)
                    if reached is not None:
                        self._tell(reached)
                        if reached.failure is not None:
                            return
                    self._save_if_due(last)
                    if self._ranks.agree(self._breaks.paused):
                        return
                    self._breaks.go_on()
        finally:
            last = None  # the exception's traceback holds this frame, and with it the encoder, while memory is freed

    def _train(self) -> Generator[Progress, None, None]:
        from model.training import train

        return train(
            self._config,
            evaluate_at=self._job.points,
            axis=self._job.axis,
            interrupt=self._breaks.are_due,
            resume_from=self._whole_checkpoint(),
            threads=self._job.threads,
            ranks=self._ranks,
            trust_remote_code=self._job.trust_remote_code,
        )

    def _whole_checkpoint(self) -> Path | None:
        """The checkpoint to go on from; None without one that every rank can read."""
        if self._job.checkpoint_seconds is None or not self._ranks.agree(self._checkpoint.exists):
            return None
        faults = [fault for fault in self._ranks.of_all(checkpoint_fault(self._checkpoint)) if fault]
        if not faults:
            return self._checkpoint
        if self._ranks.is_first:
            write_whole(self._folder / "note.txt", f"trained from the start again: {faults[0]}\n")
        return None

    def _row_at(self, at: Progress, pairs: Pairs) -> Row | None:
        """The row of a rung; None between two, and at one that an earlier attempt passed together with a later one."""
        if at.rung is None:
            return None
        self._reached = {"step": at.step, "sentences": at.sentences, "loss": at.loss, "train_seconds": at.seconds}
        points, next_index = self._job.points, self._next_index()
        index = points.index(at.rung) if at.rung in points else next_index
        if index < next_index:
            return self._scored.get(index)
        precision: Literal["fp32", "bf16"] = "bf16" if self._precision == "bf16" and not at.is_end else "fp32"
        found = measure(
            at.encoder, pairs, self._job.metric, precision, every_pooling=self._job.every_pooling, ranks=self._ranks
        )
        if found.failure is not None and self._ranks.is_first:
            keep_error(self._folder, WHY[found.failure] + "\n")
        if found.failure is not None or not at.is_end:
            return self._row(index, at.rung, found)
        if not self._ranks.is_first:
            return self._row(index, at.rung, found, is_end=True)
        check_newest(self._folder, self._number)
        save_whole(at.encoder, self._folder / "encoder")
        against = self._job.against
        return self._row(
            index,
            at.rung,
            found,
            is_end=True,
            size_mb=size_mb(at.encoder) if against == "size" else None,
            latency_ms=latency_ms(at.encoder, pairs.first) if against == "latency" else None,
        )

    def _row(self, index: int, rung: float, found: Measured, **at_end: Any) -> Row:
        return Row(
            rung_index=index,
            rung=rung,
            precision=self._precision,
            busy_seconds=self._watch.busy(),
            started=self._watch.started,
            time=time.time(),
            **(self._reached | asdict(found) | at_end),
        )

    def _next_index(self) -> int:
        return max(self._scored, default=-1) + 1

    def _tell(self, row: Row) -> None:
        """Write a row unless it is there, and report it."""
        stopped = self._write_and_report(row) if self._ranks.is_first else None
        if row.failure is None:
            self._scored[row.rung_index] = row
        if self._ranks.agree(lambda: stopped is not None):
            raise stopped or SystemExit

    def _write_and_report(self, row: Row) -> SystemExit | None:
        check_newest(self._folder, self._number)
        last = [(each.failure, each.rung_index) for each in self._written[-1:]]
        is_known = row.rung_index in self._scored if row.failure is None else last == [(row.failure, row.rung_index)]
        if not is_known:
            self._log.append(row)
        if row.is_end and not self._job.checkpoint_every_rung:
            shutil.rmtree(self._checkpoint, ignore_errors=True)
        said = {name: getattr(row, name) for name in REPORTED}
        self._watch.wait(self._job.publish)
        try:
            self._watch.wait(lambda: self._report(said))
        except SystemExit as stopped:
            return stopped
        return None

    def fail(self, state: TrialState, reason: str) -> None:
        """Tell the row of the next rung, which is never reached."""
        check_newest(self._folder, self._number)
        keep_error(self._folder, f"{reason}\n")
        index, points = self._next_index(), self._job.points
        rung = points[index] if index < len(points) else self._reached["train_seconds"]
        self._tell(self._row(index, rung, Measured(FLOOR, state)))

    def _save_if_due(self, at: Progress) -> None:
        is_rung, keeps_every = at.rung is not None, self._job.checkpoint_every_rung
        if not self._ranks.is_first:
            return
        paused = self._breaks.paused(at_once=is_rung)
        if self._job.checkpoint_seconds is None or (at.is_end and not keeps_every):
            return
        if paused or self._breaks.checkpoint_is_old() or (is_rung and keeps_every):
            check_newest(self._folder, self._number)
            at.save(self._checkpoint)
            self.note_busy()
            self._breaks.saved()
            self._watch.wait(self._job.publish)

    def note_busy(self) -> None:
        """Keep how long it has run, where no row says it."""
        check_newest(self._folder, self._number)
        write_json(self._folder / BUSY, {"seconds": self._watch.busy()})
