"""`stsweep train`: one configuration in this process, without Ray: the same generator and the same score as a trial."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sweep.errors import Problem, Refused
from sweep.record import RowLog, write_whole
from sweep.resources import threads
from sweep.spec import rungs
from sweep.trial import Job, run_trial

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from sweep.spec import SweepSpec


def train_one(spec: SweepSpec, out: Path, resume: bool) -> str:
    """Train `spec.train` into `out`: rows, a checkpoint at every rung, and the encoder at the end.

    Returns:
        What to print: the final score and where the encoder is.

    Raises:
        Refused: `out` exists and `resume` was not asked, or it has no checkpoint to resume from, or there is no score.
    """
    checkpoint = out / "checkpoint"
    if resume and not checkpoint.exists():
        raise Refused(
            [Problem(f"{out} has no checkpoint to go on from", key="--resume")], next=f"stsweep train … --out {out}"
        )
    if not resume and out.exists():
        raise Refused(
            [Problem(f"{out} exists already; nothing was changed", key="--out")],
            next="choose another --out, or add --resume to go on from its checkpoint",
        )
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "spec.yaml", spec.to_yaml())
    objective = spec.objective
    job = Job(
        rungs=rungs(spec),
        task=objective.task,
        split=objective.split,
        metric=objective.metric,
        data_dir=spec.data_folder,
        threads=threads(spec.resources),
        keep_checkpoint=True,
    )
    run_trial(job, out, spec.train.flatten(), _print_row)
    row = RowLog(out).read()[-1]
    said = f"{objective.task} {objective.split} {objective.metric}"
    if row.failure:
        reason = (out / "error.txt").read_text(encoding="utf-8").strip() if (out / "error.txt").exists() else ""
        raise Refused(
            [Problem(f"{row.failure} at {row.sentences:,} sentences. {reason}")], next="lower the learning rate"
        )
    return f"{said} {row.score:.2f} after {row.sentences:,} sentences; the encoder is {out / 'encoder'}"


def _print_row(row: dict[str, Any]) -> None:
    print(f"{row['rung']:>9,} sentences  score {row['score']:.2f}", file=sys.stderr)
