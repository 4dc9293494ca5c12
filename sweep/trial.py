"""One trial as a Ray worker runs it: what it shares with the sweep's others, and what its fault means to Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweep.attempt import attempt
from sweep.deaths import note_death
from sweep.files import disk_fault
from sweep.resources import ask_of, threads
from sweep.spec.sweep_spec import milestones, rungs
from sweep.trial_folder import SupersededError, check_shared
from sweep.trial_record import ERROR

if TYPE_CHECKING:
    from model.training import Axis
    from sweep.spec.sweep_spec import SweepSpec


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Job:
    """What every trial of a sweep shares: when and on what to score, how many threads, when to save and to end."""

    rungs: tuple[int, ...]
    """Sentences at which it is scored; the budget alone where `axis` is seconds."""
    task: str
    split: str
    metric: str
    data_dir: Path | None
    threads: int
    axis: Axis = "sentences"
    milestones: tuple[float, ...] = ()
    """Seconds of training at which it is scored where `axis` is seconds, beside the budget's end."""
    every_pooling: bool = False
    """Score with every pooling too, and put it into the row."""
    against: Literal["size", "latency"] | None = None
    """What to measure beside the score at the end."""
    checkpoint_seconds: float | None = None
    """Seconds of training between two checkpoints. None: none is written, none read."""
    checkpoint_every_rung: bool = False
    """Write one at every rung too, and keep the last when the trial has completed."""
    trust_remote_code: bool = False
    """Run Python code that the encoder's or the teacher's own files bring. From the command line alone."""
    pause: Path | None = None
    """A file: while it is there, a trial saves a checkpoint and ends."""
    publish: Callable[[], None] = _nothing
    """Makes a trial's folder durable where it is not by itself: before a row is reported, and after a checkpoint."""

    @property
    def points(self) -> tuple[float, ...]:
        """Where a trial is scored before its budget's end, on `axis`."""
        return self.milestones if self.axis == "seconds" else self.rungs


def job_of(
    spec: SweepSpec,
    pause: Path | None = None,
    *,
    checkpoint_every_rung: bool = False,
    trust_remote_code: bool = False,
) -> Job:
    """What a spec says of every one of its trials."""
    return Job(
        rungs=rungs(spec),
        task=spec.objective.task,
        split=spec.objective.split,
        metric=spec.objective.metric,
        data_dir=spec.data_folder,
        threads=threads(ask_of(spec.resources, spec.train.flatten())),
        axis=spec.scheduler.axis,
        milestones=milestones(spec),
        every_pooling=spec.objective.poolings == "all",
        against=spec.objective.against,
        checkpoint_seconds=spec.checkpoint_seconds,
        checkpoint_every_rung=checkpoint_every_rung,
        trust_remote_code=trust_remote_code,
        pause=pause,
    )


def run_trial(
    job: Job,
    folder: Path,
    knobs: Mapping[str, Any],
    report: Callable[[dict[str, Any]], None],
    *,
    number: int | None = None,
) -> None:
    """`attempt`, for Tune: a fault of the trial ends it, with the traceback in `error.txt`, and is not raised.

    What a trial did it would do again, so only a trial whose process died is run again. A fault of the accelerator ends
    the process: CUDA answers every later call of it with the same error, and it would take all later trials with it.
    A full disk or shared storage that fails is no fault of the trial: it is raised, and the scheduler closes the sweep.
    Nobody listens to an attempt that was superseded. A node that joined later and does not share the sweep's folder is
    no fault either: its worker counts as dead, and the trial may run on another node.

    Raises:
        UnsharedError: the trial's folder, which the driver made, is not on this machine.
    """
    check_shared(folder)
    try:
        attempt(job, folder, knobs, report, number=number)
        job.publish()
    except SupersededError:
        return
    except Exception as error:
        if disk_fault(error):
            raise
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(error, torch.AcceleratorError):
            note_death(folder, (folder / ERROR).read_text(encoding="utf-8"), "accelerator")
            (folder / ERROR).unlink()
            os._exit(1)
        job.publish()
