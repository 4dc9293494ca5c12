"""One trial, in a Ray worker: train, score at every rung, write the row, report it.

The row is on disk before Tune hears of it: Ray's clean-up waits for nobody, so what is not written by then is lost.
A score that does not exist (a diverged loss, collapsed embeddings, no memory) becomes `FLOOR` with its reason; NaN
never leaves the worker, since ASHA would never stop it.
"""

from __future__ import annotations

import gc
import shutil
import time
import traceback
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import TrainConfig
from model.errors import DivergedError, MisfitError
from sweep.record import FLOOR, Row, RowLog, TrialState, write_whole
from sweep.resources import threads
from sweep.spec.sweep_spec import rungs

if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluation.pairs import Pairs
    from model.encoder import Encoder
    from model.training import Progress
    from sweep.spec.sweep_spec import SweepSpec


@dataclass(frozen=True)
class Job:
    """What every trial of a sweep shares: when and on what to score, how many threads."""

    rungs: tuple[int, ...]
    task: str
    split: str
    metric: str
    data_dir: Path | None
    threads: int
    every_pooling: bool = False
    """Score with every pooling too, and put it into the row."""
    keep_checkpoint: bool = False
    """Write a checkpoint at every rung, and start from the one that is there."""


@dataclass(frozen=True)
class Measured:
    """What one evaluation found; the fields are those of `Row`."""

    score: float
    failure: str | None
    alignment: float | None = None
    uniformity: float | None = None
    spread: float | None = None
    poolings: dict[str, float | None] | None = None


_WHY = {
    "collapsed": "all sentences have the same embedding, or all pairs the same similarity: there is no correlation",
    "diverged": "an embedding is not finite",
}


def job_of(spec: SweepSpec, *, keep_checkpoint: bool = False) -> Job:
    """What a spec says of every one of its trials."""
    return Job(
        rungs=rungs(spec),
        task=spec.objective.task,
        split=spec.objective.split,
        metric=spec.objective.metric,
        data_dir=spec.data_folder,
        threads=threads(spec.resources),
        every_pooling=spec.objective.poolings == "all",
        keep_checkpoint=keep_checkpoint,
    )


class Stopwatch:
    """Busy time of a trial: from its start to now, without what was spent inside `pause`."""

    def __init__(self) -> None:
        self.started = time.time()
        self._begin = time.perf_counter()
        self._paused = 0.0

    def busy(self) -> float:
        return time.perf_counter() - self._begin - self._paused

    def pause(self, action: Callable[[], None]) -> None:
        """Run `action` off the clock, also when it raises (Tune ends a stopped trial by an exception)."""
        begin = time.perf_counter()
        try:
            action()
        finally:
            self._paused += time.perf_counter() - begin


def run_trial(job: Job, folder: Path, knobs: Mapping[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Train one configuration and report every rung; returns early when the trial has no score to go on with.

    Args:
        job: what the sweep's trials share.
        folder: the trial's own, for its rows, its encoder and what went wrong.
        knobs: the flat configuration.
        report: hands a row to the scheduler and returns when the trial may go on; raises to end it.

    Raises:
        Exception: whatever went wrong that is no known failure; the traceback is in `error.txt` by then.
    """
    try:
        _run(job, folder, TrainConfig.from_flat(knobs), report)
    except Exception:
        write_whole(folder / "error.txt", traceback.format_exc())
        raise
    finally:
        _free_memory()


def _run(job: Job, folder: Path, config: TrainConfig, report: Callable[[dict[str, Any]], None]) -> None:
    import torch

    from evaluation.tasks import load_pairs
    from model.device import choose_device
    from model.precision import resolve_precision
    from model.training import train

    watch = Stopwatch()
    rows = RowLog(folder)
    last: Progress | None = None
    precision = resolve_precision(config.precision, choose_device(None))

    def make_row(index: int, measured: Measured, score_precision: str | None) -> Row:
        return Row(
            rung_index=index,
            rung=job.rungs[index],
            step=last.step if last else 0,
            sentences=last.sentences if last else 0,
            score=measured.score,
            failure=measured.failure,
            loss=last.loss if last else None,
            precision=precision,
            score_precision=score_precision,
            train_seconds=last.seconds if last else 0.0,
            busy_seconds=watch.busy(),
            started=watch.started,
            time=time.time(),
            alignment=measured.alignment,
            uniformity=measured.uniformity,
            spread=measured.spread,
            poolings=measured.poolings,
        )

    def write(row: Row) -> None:
        if row.rung_index >= _scored(rows):  # else it was written before the checkpoint that this run started from
            rows.append(row)
        watch.pause(lambda: report({"rung": row.rung, "score": row.score, "rung_index": row.rung_index}))

    def fail(state: TrialState, reason: object) -> None:
        write_whole(folder / "error.txt", f"{reason}\n")
        write(make_row(index + 1, Measured(FLOOR, state), None))

    (folder / "error.txt").unlink(missing_ok=True)
    index = _scored(rows) - 1
    checkpoint = folder / "checkpoint"
    resume_from = checkpoint if job.keep_checkpoint and checkpoint.exists() else None
    try:
        pairs = load_pairs(job.task, job.split, job.data_dir)
        training = train(config, evaluate_at=job.rungs, resume_from=resume_from, threads=job.threads)
        with closing(training):  # Ray ends a stopped trial inside `report`; what the generator holds must go then too
            for last in training:
                index = job.rungs.index(last.rung)
                is_top = index == len(job.rungs) - 1
                score_precision = "bf16" if precision == "bf16" and not is_top else "fp32"
                measured = _measure(last.encoder, pairs, job, score_precision)
                if is_top and measured.failure is None:
                    _save_whole(last.encoder, folder / "encoder")
                if measured.failure is not None:
                    write_whole(folder / "error.txt", _WHY[measured.failure] + "\n")
                write(make_row(index, measured, score_precision))
                if measured.failure is not None:
                    return
                if job.keep_checkpoint:
                    last.save(checkpoint)
    except DivergedError as error:
        fail("diverged", error)
    except (torch.OutOfMemoryError, MemoryError, MisfitError) as error:
        fail("infeasible", error)
    finally:
        last = None  # the exception's traceback holds this frame, and with it the encoder, while memory is freed


def _scored(rows: RowLog) -> int:
    """Rungs with a score; a failure that ended an earlier run is none, for this one gets there again."""
    return sum(row.failure is None for row in rows.read())


def _save_whole(encoder: Encoder, folder: Path) -> None:
    from model.cache import sync
    from model.encoder import save_encoder

    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a trial that was killed while it saved
    save_encoder(encoder, unfinished)
    for path in (*unfinished.iterdir(), unfinished):
        sync(path)
    unfinished.replace(folder)
    sync(folder.parent)


def _measure(encoder: Encoder, pairs: Pairs, job: Job, precision: Any) -> Measured:
    from evaluation.score import distinct_sentences, score_embeddings
    from model.pooling import fitting_poolings

    sentences = distinct_sentences([pairs])
    others = fitting_poolings(encoder.transformer.config.num_hidden_layers) if job.every_pooling else []
    names = list(dict.fromkeys([encoder.pooling, *others]))
    embeddings = encoder.encode_each(names, sentences, precision=precision, cache_tokens=True)
    scores = {name: score_embeddings(embeddings[name], sentences, [pairs], precision)[0] for name in names}
    own = scores[encoder.pooling]
    value: float | None = getattr(own, job.metric)
    return Measured(
        score=FLOOR if value is None else value,
        failure=own.failure,
        alignment=own.alignment,
        uniformity=own.uniformity,
        spread=own.spread,
        poolings={name: getattr(score, job.metric) for name, score in scores.items()} if job.every_pooling else None,
    )


def _free_memory() -> None:
    """The actor lives on for the next trial, so what this one held must go."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
