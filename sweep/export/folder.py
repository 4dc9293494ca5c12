"""`stsweep export`: one trained encoder as a folder that sentence-transformers loads, with what made it beside it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import TrainConfig
from sweep.errors import Problem, Refused
from sweep.files import write_whole
from sweep.record import Record
from sweep.spec.space import one_run
from sweep.spec.sweep_spec import SweepSpec, load_spec
from sweep.trial_record import Trial, best_trial

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ENCODER_FILE = "stsweep_encoder.json"
CONFIG_FILE = "config.yaml"


@dataclass(frozen=True)
class Exported:
    """What was exported and where."""

    trial: int
    """The trial's number."""
    folder: Path
    """What `SentenceTransformer` and `load_encoder` load."""
    config: Path
    """The spec of this one run: `stsweep train` and `stsweep run` take it."""
    note: str | None
    """What to know before loading it; None when there is nothing."""

    def to_json(self) -> dict[str, Any]:
        return {"trial": self.trial, "folder": str(self.folder), "config": str(self.config), "note": self.note}

    def to_text(self) -> str:
        lines = [f"trial {self.trial:04d} is exported: SentenceTransformer({str(self.folder)!r})"]
        lines += [f"note: {self.note}"] if self.note else []
        lines += [f"Next: stsweep eval {self.folder}, or again: stsweep train {self.config} --out FOLDER"]
        return "\n".join(lines)


def export(record: Record, number: int | None, folder: Path, *, trust_remote_code: bool = False) -> Exported:
    """Write a completed trial's encoder to a new folder.

    The folder appears whole or not at all.

    Args:
        record: the sweep.
        number: the trial's number; None takes the best.
        folder: what to make; it must not exist.
        trust_remote_code: run code that the encoder's own files bring.

    Raises:
        Refused: the folder exists, there is no such completed trial, its encoder was not kept, or
            sentence-transformers is not installed.
    """
    trial = _chosen(record, number)
    record.share.fetch_encoder(trial.number)
    if not (trial.folder / "encoder").exists():
        raise Refused(
            [
                Problem(
                    f"trial {trial.number} is not among the best, whose encoders are kept (keep_best)", key="--trial"
                )
            ],
            next=f"stsweep export {record.argument}, or train it again: stsweep status {record.argument} --json",
        )
    if folder.exists():
        raise Refused(
            [Problem(f"{folder} exists already; nothing was changed", key="--out")],
            next=f"stsweep export {record.argument} --trial {trial.number} --out {_free(folder)}",
        )
    if importlib.util.find_spec("sentence_transformers") is None:
        raise Refused([Problem("sentence-transformers is not installed")], next="pip install 'stsweep[export]'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        note = _write(record, trial, folder, unfinished, trust_remote_code)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Exported(trial.number, folder, folder / CONFIG_FILE, note)


def default_folder(record: Record) -> Path:
    """Where an encoder is exported to: into the record, or beside the user where that is a copy in the cache."""
    return record.folder / "export" if record.share.uri is None else Path(f"{record.name}-export")


def _chosen(record: Record, number: int | None) -> Trial:
    trials = record.trials()
    completed = [trial for trial in trials if trial.state == "completed"]
    if number is None:
        if best := best_trial(trials):
            return best
        message = f"no trial of {record.name!r} has reached the top rung, so there is nothing to export"
    else:
        found = {trial.number: trial for trial in trials}.get(number)
        if found is not None and found.state == "completed":
            return found
        numbers = ", ".join(str(trial.number) for trial in completed) or "none"
        why = f"trial {number} is {found.state}" if found else f"there is no trial {number}"
        message = f"{why}; completed, so that they have an encoder: {numbers}"
    raise Refused([Problem(message, key="--trial")], next=f"stsweep status {record.argument}")


def _free(folder: Path) -> Path:
    return next(free for n in range(2, 10_000) if not (free := folder.with_name(f"{folder.name}-{n}")).exists())


def _write(record: Record, trial: Trial, folder: Path, unfinished: Path, trust_remote_code: bool) -> str | None:
    """Fill `unfinished`, which will be called `folder`; what to know of it, or None."""
    from sweep.export.model_card import write_card

    spec = run_spec(record, trial)
    note = write_encoder(trial.folder / "encoder", spec, unfinished, trust_remote_code=trust_remote_code)
    write_card(unfinished / "README.md", record, trial, folder.name, note)
    return note


def write_encoder(saved: Path, spec: SweepSpec, folder: Path, *, trust_remote_code: bool = False) -> str | None:
    """Write an encoder and its run's spec as a new folder for sentence-transformers.

    Args:
        saved: what `model.save_encoder` wrote.
        spec: the one run that made it.
        folder: must not exist.
        trust_remote_code: run code that the encoder's own files bring.

    Returns:
        What to know before loading it; None when there is nothing.
    """
    from model.encoder import load_encoder, saved_config
    from sweep.export.model_card import describe
    from sweep.export.sentence_transformer import build, code_note, save

    encoder = load_encoder(saved_config(saved), trust_remote_code=trust_remote_code)
    built: SentenceTransformer = build(encoder, saved, trust_remote_code)
    describe(built, spec)
    save(built, folder)
    shutil.copyfile(saved / ENCODER_FILE, folder / ENCODER_FILE)
    write_whole(folder / CONFIG_FILE, spec.to_yaml())
    return code_note(encoder.pooling, saved)


def run_spec(record: Record, trial: Trial) -> SweepSpec:
    """The sweep's spec with this trial's configuration in place of the search: a sweep of one run."""
    spec = one_run(load_spec(record.folder / "spec.yaml"), TrainConfig.from_flat(trial.config))
    return spec.model_copy(
        update={
            "name": f"{record.name[:58]}-{trial.number:04d}",  # a name has at most 64 characters
            "description": f"Trial {trial.number} of the sweep {record.name}",
            "tracking_uri": None,  # may hold a password, and this folder is made to be passed on
        }
    )
