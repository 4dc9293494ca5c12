"""`stsweep train`: one configuration in this process, without Ray: the same generator and the same score as a trial."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sweep.check import check
from sweep.errors import Exit, Problem, Refused
from sweep.record import RowLog, write_whole
from sweep.spec import Sampler
from sweep.trial import job_of, run_trial

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from sweep.spec import SweepSpec


def train_one(spec: SweepSpec, out: Path, resume: bool) -> Exit:
    """Train `spec.train` into `out`: rows, a checkpoint at every rung, and the encoder at the end; print the score.

    Returns:
        DONE, or NONE_COMPLETED when the training ended without a score.

    Raises:
        Refused: a mistake in the spec; `out` exists and `resume` was not asked, or it has no checkpoint to go on from.
        model.InputError: the checkpoint is damaged, or of a run with other knobs.
    """
    alone = spec.model_copy(update={"search": {}, "sampler": Sampler(name="random"), "trials": 1})
    check(alone)
    checkpoint = out / "checkpoint"
    if resume and not checkpoint.exists():
        raise Refused(
            [Problem(f"{out} has no checkpoint to go on from", key="--resume")], next=f"stsweep train SPEC --out {out}"
        )
    if not resume and out.exists():
        raise Refused(
            [Problem(f"{out} exists already; nothing was changed", key="--out")],
            next=f"stsweep train SPEC --out {out}-2, or --resume to go on from its checkpoint",
        )
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        write_whole(out / "spec.yaml", alone.to_yaml())
    run_trial(job_of(alone, keep_checkpoint=True), out, alone.train.flatten(), _print_row)
    row = RowLog(out).read()[-1]
    if row.failure:
        reason = (out / "error.txt").read_text(encoding="utf-8").strip()
        print(f"{row.failure} after {row.sentences:,} sentences: {reason}")
        return Exit.NONE_COMPLETED
    said = f"{spec.objective.task} {spec.objective.split} {spec.objective.metric}"
    print(f"{said} {row.score:.2f} after {row.sentences:,} sentences; the encoder is {out / 'encoder'}")
    return Exit.DONE


def _print_row(row: dict[str, Any]) -> None:
    print(f"{row['rung']:>9,} sentences  score {row['score']:.2f}", file=sys.stderr)
