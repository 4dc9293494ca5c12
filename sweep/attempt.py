"""One attempt at a trial: train from its last checkpoint on, score at every rung, write the row, report it.

A row is on disk before Tune hears of it: Ray's clean-up waits for nobody, so what is not written by then is lost. A
score that does not exist (a diverged loss, collapsed embeddings, no memory) becomes `FLOOR` with its reason; NaN never
leaves the worker, since ASHA would never stop it.

A checkpoint costs three times the weights, so one is written only when the sweep pauses, and when so many seconds of
training have gone by that they are worth keeping.
"""

from __future__ import annotations

import gc
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model.config import TrainConfig
from model.errors import DivergedError, InputError, MisfitError
from sweep.breaks import Breaks
from sweep.files import disk_fault, write_json, write_whole
from sweep.measure import WHY, Measured, latency_ms, measure, size_mb
from sweep.trial_record import BUSY, ERROR, FLOOR, NO_MEMORY, Row, RowLog, TrialState, busy_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from evaluation.pairs import Pairs
    from model.encoder import Encoder
    from model.training import Progress
    from sweep.trial import Job

REPORTED = ("rung", "score", "rung_index", "failure", "is_end", "busy_seconds")
"""Fields of a row that Tune is told."""
NO_MEMORY_TEXTS = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""In the messages of torch's RuntimeErrors where there is no memory, beside `torch.OutOfMemoryError`, which is that of
a GPU's allocator alone: of main memory (c10/core/impl/alloc_cpu.cpp; also in the InputError that `load_encoder` makes
of it), of a GPU too full for a context, and of cuBLAS's own workspace."""


class Stopwatch:
    """Busy time of a trial: from its start to now, without what was spent inside `wait` or between two attempts."""

    def __init__(self, written: Sequence[Row], before: float) -> None:
        """Go on from earlier attempts, which wrote these rows and ran so many seconds."""
        self.started = written[0].started if written else time.time()
        self._before = before
        self._begin = time.perf_counter()
        self._waited = 0.0

    def busy(self) -> float:
        return self._before + time.perf_counter() - self._begin - self._waited

    def wait(self, action: Callable[[], None]) -> None:
        """Run `action` off the clock, also when it raises (Tune ends a stopped trial by an exception)."""
        begin = time.perf_counter()
        try:
            action()
        finally:
            self._waited += time.perf_counter() - begin


def attempt(job: Job, folder: Path, knobs: Mapping[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Train one configuration and report every rung, from the trial's checkpoint on if there is a whole one.

    Returns when the budget is used, when there is no score to go on with, or when the sweep pauses. A rung that has its
    row from an earlier attempt is reported from that row.

    Args:
        job: what the sweep's trials share.
        folder: the trial's own, for its rows, its encoder, its checkpoint and what went wrong.
        knobs: the flat configuration.
        report: hands a row to the scheduler and returns when the trial may go on. Tune ends a stopped trial from
            inside it by SystemExit (ray/train/_internal/session.py, `_report_training_result`), which passes.

    Raises:
        Exception: whatever went wrong that is no known failure; the traceback is in `error.txt` by then, unless a
            disk failed.
    """
    trial = None
    try:
        trial = _Attempt(job, folder, TrainConfig.from_flat(knobs), report)
        trial.run()
    except Exception as error:
        if disk_fault(error) is None:  # else this cannot be written either
            _keep_error(folder, traceback.format_exc())
            if trial is not None:
                trial.note_busy()
        raise
    finally:
        _free_memory()


class _Attempt:
    """One run of a trial. Holds no encoder: an exception's traceback outlives the run, and with it this object."""

    def __init__(self, job: Job, folder: Path, config: TrainConfig, report: Callable[[dict[str, Any]], None]) -> None:
        from model.device import choose_device
        from model.precision import resolve_precision

        self._job, self._folder, self._config, self._report = job, folder, config, report
        self._precision = resolve_precision(config.precision, choose_device(None))
        self._checkpoint = folder / "checkpoint"
        self._log = RowLog(folder)
        self._written = list(self._log.read())
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
        import torch

        from evaluation.tasks import load_pairs
        from model.checkpoint import tidy_checkpoint

        if self._breaks.paused():
            return
        tidy_checkpoint(self._checkpoint)
        shutil.rmtree(_unfinished(self._folder / "encoder"), ignore_errors=True)
        (self._folder / ERROR).unlink(missing_ok=True)
        if self._last_scored is not None and self._last_scored.is_end:
            self._tell(self._last_scored)  # the process died before Tune heard of it
            return
        if (self._folder / NO_MEMORY).exists():
            self._fail("infeasible", (self._folder / NO_MEMORY).read_text(encoding="utf-8").strip())
            return
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
                    if self._breaks.paused():
                        return
                    self._breaks.go_on()
        except DivergedError as error:
            self._fail("diverged", error)
        except (torch.OutOfMemoryError, MemoryError, MisfitError) as error:
            self._fail("infeasible", error)
        except (RuntimeError, InputError) as error:
            if not any(text in str(error) for text in NO_MEMORY_TEXTS):
                raise
            self._fail("infeasible", error)
        finally:
            last = None  # the exception's traceback holds this frame, and with it the encoder, while memory is freed

    def _train(self) -> Generator[Progress, None, None]:
        from model.checkpoint import DamagedError
        from model.training import train

        begin = partial(
            train,
            self._config,
            evaluate_at=self._job.points,
            axis=self._job.axis,
            interrupt=self._breaks.are_due,
            threads=self._job.threads,
        )
        if self._job.checkpoint_seconds is not None and self._checkpoint.exists():
            try:
                yield from begin(resume_from=self._checkpoint)
                return
            except DamagedError as error:
                write_whole(self._folder / "note.txt", f"trained from the start again: {error}\n")
        yield from begin()

    def _row_at(self, at: Progress, pairs: Pairs) -> Row | None:
        """The row of a rung; None between two, and at one that an earlier attempt passed together with a later one."""
        if at.rung is None:
            return None
        self._reached = {
            "step": at.step,
            "sentences": at.sentences,
            "loss": at.loss,
            "train_seconds": at.seconds,
        }
        points, next_index = self._job.points, self._next_index()
        index = points.index(at.rung) if at.rung in points else next_index
        if index < next_index:
            return self._scored.get(index)
        precision: Literal["fp32", "bf16"] = "bf16" if self._precision == "bf16" and not at.is_end else "fp32"
        found = measure(at.encoder, pairs, self._job.metric, precision, every_pooling=self._job.every_pooling)
        if found.failure is not None:
            _keep_error(self._folder, WHY[found.failure] + "\n")
        if found.failure is not None or not at.is_end:
            return self._row(index, at.rung, found)
        _save_whole(at.encoder, self._folder / "encoder")
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
            **self._reached,
            **asdict(found),
            **at_end,
        )

    def _next_index(self) -> int:
        return max(self._scored, default=-1) + 1

    def _tell(self, row: Row) -> None:
        """Write a row unless it is there, and report it."""
        if row.failure is not None:
            if [(each.failure, each.rung_index) for each in self._written[-1:]] != [(row.failure, row.rung_index)]:
                self._log.append(row)
        elif row.rung_index not in self._scored:
            self._log.append(row)
            self._scored[row.rung_index] = row
        if row.is_end and not self._job.checkpoint_every_rung:
            shutil.rmtree(self._checkpoint, ignore_errors=True)
        said = {name: getattr(row, name) for name in REPORTED}
        self._watch.wait(self._job.publish)
        self._watch.wait(lambda: self._report(said))

    def _fail(self, state: TrialState, reason: object) -> None:
        """The row of the next rung, which is never reached."""
        _keep_error(self._folder, f"{reason}\n")
        index, points = self._next_index(), self._job.points
        rung = points[index] if index < len(points) else self._reached["train_seconds"]
        self._tell(self._row(index, rung, Measured(FLOOR, state)))

    def _save_if_due(self, at: Progress) -> None:
        is_rung, keeps_every = at.rung is not None, self._job.checkpoint_every_rung
        paused = self._breaks.paused(at_once=is_rung)
        if self._job.checkpoint_seconds is None or (at.is_end and not keeps_every):
            return
        if paused or self._breaks.checkpoint_is_old() or (is_rung and keeps_every):
            at.save(self._checkpoint)
            self.note_busy()
            self._breaks.saved()
            self._watch.wait(self._job.publish)

    def note_busy(self) -> None:
        """Keep how long it has run, where no row says it."""
        write_json(self._folder / BUSY, {"seconds": self._watch.busy()})


def _keep_error(folder: Path, text: str) -> None:
    """Keep what went wrong first; what follows from it is not why."""
    if not (folder / ERROR).exists():
        write_whole(folder / ERROR, text)


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}")


def _save_whole(encoder: Encoder, folder: Path) -> None:
    from model.cache import sync
    from model.encoder import save_encoder

    unfinished = _unfinished(folder)
    save_encoder(encoder, unfinished)
    for path in (*unfinished.iterdir(), unfinished):
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed before its row was written
    unfinished.replace(folder)
    sync(folder.parent)


def _free_memory() -> None:
    """The actor lives on for the next trial, so what this one held must go."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
