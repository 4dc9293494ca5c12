"""`stsweep train`: one configuration in this process, without Ray: the same generator and the same score as a trial."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING

from sweep.attempt import attempt
from sweep.errors import Exit, Problem, Refused
from sweep.export.folder import write_encoder
from sweep.export.sentence_transformer import code_note
from sweep.files import write_whole
from sweep.spec.check import check
from sweep.spec.space import one_run
from sweep.spec.sweep_spec import load_spec, milestones, rungs
from sweep.trial import job_of
from sweep.trial_record import ERROR, RowLog

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from sweep.spec.sweep_spec import SweepSpec


def train_one(spec: SweepSpec, out: Path, resume: bool, *, trust_remote_code: bool = False) -> Exit:
    """Train `spec.train` into `out`: rows, a checkpoint at every rung, and the encoder at the end; print the score.

    Returns:
        DONE, or NONE_COMPLETED when the training ended without a score.

    Raises:
        Refused: a mistake in the spec; `out` exists and `resume` was not asked, or it has no checkpoint to go on from;
            other knobs, rungs or another objective than that run's.
        model.InputError: the checkpoint is damaged, or the corpus has other contents.
    """
    alone = one_run(spec, spec.train)
    check(alone, trust_remote_code=trust_remote_code)
    checkpoint = out / "checkpoint"
    if resume and not checkpoint.exists():
        raise Refused(
            [Problem(f"{out} has no checkpoint to go on from", key="--resume")], next=f"stsweep train SPEC --out {out}"
        )
    if resume:
        from model.checkpoint import check_checkpoint

        _check_same_run(alone, out)
        check_checkpoint(checkpoint)  # a trial would begin anew; here the user says so
    elif out.exists():
        raise Refused(
            [Problem(f"{out} exists already; nothing was changed", key="--out")],
            next=f"stsweep train SPEC --out {out}-2, or --resume to go on from its checkpoint",
        )
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        write_whole(out / "spec.yaml", alone.to_yaml())
    job = job_of(alone, checkpoint_every_rung=True, trust_remote_code=trust_remote_code)
    attempt(job, out, alone.train.flatten(), partial(_print_row, alone))
    row = RowLog(out).read()[-1]
    if row.failure:
        reason = (out / ERROR).read_text(encoding="utf-8").strip()
        print(f"{row.failure} after {row.sentences:,} sentences: {reason}")
        return Exit.NONE_COMPLETED
    said = _objective(spec)
    print(f"{said} {row.score:.2f} after {row.sentences:,} sentences; the encoder is {out / 'encoder'}")
    print(_exported(out, alone, trust_remote_code))
    return Exit.DONE


def _check_same_run(spec: SweepSpec, out: Path) -> None:
    """Refuse to go on as another run: rows of one folder at other rungs or of another objective do not compare."""
    then, now = _settled(load_spec(out / "spec.yaml")), _settled(spec)
    problems = [
        Problem(f"{then[name]} in {out} and {now[name]} now; a run goes on as it began", key=name)
        for name in then
        if then[name] != now[name]
    ]
    if problems:
        raise Refused(problems, next=f"stsweep train {out / 'spec.yaml'} --out {out} --resume")


def _settled(spec: SweepSpec) -> dict[str, Any]:
    """What must not differ between a run and its continuation; its corpus may lie elsewhere."""
    knobs = {name: value for name, value in spec.train.flatten().items() if name != "data.corpus"}
    points = [f"{point:g} s" for point in milestones(spec)] or map(str, rungs(spec))
    return knobs | {"scheduler": f"rungs {', '.join(points)}", "objective": _objective(spec)}


def _objective(spec: SweepSpec) -> str:
    return f"{spec.objective.task} {spec.objective.split} {spec.objective.metric}"


def _print_row(spec: SweepSpec, row: dict[str, Any]) -> None:
    rung = f"{row['rung']:>9,} sentences" if spec.scheduler.axis == "sentences" else f"{row['rung']:>9,.1f} s"
    print(f"{rung}  score {row['score']:.2f}", file=sys.stderr)


def _exported(out: Path, spec: SweepSpec, trust_remote_code: bool) -> str:
    """Write the encoder for sentence-transformers too, which would load `encoder/` with a pooling of its own guess."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return "for SentenceTransformer(path): pip install 'stsweep[export]', then the same command with --resume"
    folder, unfinished = out / "export", out / ".export"
    if not folder.exists():
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed while it wrote
        write_encoder(out / "encoder", spec, unfinished, trust_remote_code=trust_remote_code)
        unfinished.rename(folder)
    note = code_note(spec.train.encoder.pooling, out / "encoder")
    return f"SentenceTransformer({str(folder)!r})" + (f"\nnote: {note}" if note else "")
