"""The record of one sweep: a directory that is the truth for everything else (tables, Optuna, MLflow, export).

    ROOT/NAME/
        sweep.json            what was asked, by whom and when: objective, rungs, trials, searched knobs, slots, …
        spec.yaml             the resolved spec
        lock                  held by the driver while it runs
        study.db              Optuna's study (written by the driver's searcher alone)
        baselines.json        scores of the untrained encoder, the teacher and the lexical floor
        trials/0007/
            trial.json        number, the sampled point, the whole flat configuration
            rows.jsonl        one line an evaluation, written by the worker before it reports to Tune
            error.txt         the worker's traceback, when there is one
            end.json          the final state, written by the driver
            encoder/          the trained encoder, when the trial reached the top rung

A file appears whole or not at all (temporary name, fsync, rename); rows are appended with fsync, and a torn last line
(the writer was killed inside a write) is ignored. Reading needs neither Ray nor Optuna.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from sweep.errors import Problem, Refused, nearest
from sweep.root import argument, make_folder, sweep_names

FORMAT = 2
FLOOR = -100.0
"""Score of a trial that has none: finite, for ASHA never stops a NaN (`nan < cutoff` is false)."""

TrialState = Literal["running", "completed", "stopped", "infeasible", "diverged", "collapsed", "errored", "interrupted"]


@dataclass(frozen=True)
class Row:
    """One evaluation of one trial.

    `rung` is the nominal number of sentences (ASHA's time axis), `sentences` the actual one, `rung_index` the step that
    Optuna and MLflow see. `score` is ×100, or `FLOOR` with the reason in `failure`. `started` and `time` are seconds
    since the epoch; `train_seconds` and `busy_seconds` add up from the trial's start, waiting for Tune left out.
    `alignment`, `uniformity` and `spread` are those of `evaluation.geometry`; None of a diverged encoder. `poolings`
    holds the score ×100 with every pooling when the objective asks for it, None where one has none.
    """

    rung_index: int
    rung: int
    step: int
    sentences: int
    score: float
    failure: str | None
    loss: float | None
    precision: str
    score_precision: str | None
    train_seconds: float
    busy_seconds: float
    started: float
    time: float
    alignment: float | None = None
    uniformity: float | None = None
    spread: float | None = None
    poolings: dict[str, float | None] | None = None


@dataclass(frozen=True)
class Trial:
    """What the record says of one trial."""

    number: int
    point: dict[str, Any]
    config: dict[str, Any]
    rows: tuple[Row, ...]
    state: TrialState
    reason: str | None = None
    folder: Path = field(default=Path(), repr=False)

    @property
    def score(self) -> float | None:
        """The last score, or None before the first rung."""
        return self.rows[-1].score if self.rows else None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _read_json(path: Path) -> Any:
    return _parsed(path, path.read_text(encoding="utf-8", errors="replace"))


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        # No writer of this program leaves a part of a file: a full disk, a copy that broke off, or an editor did.
        problem = Problem(f"damaged: {error}", str(path))
        raise Refused([problem], next="restore the file from a copy, or move the sweep's folder away") from None


class RowLog:
    """The append-only rows of one trial."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.jsonl"

    def append(self, row: Row) -> None:
        """Write a row durably; it is on disk when this returns. A torn line of a killed writer is cut off first."""
        line = json.dumps(asdict(row), allow_nan=False) + "\n"
        with self.path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[Row, ...]:
        """All whole rows, in order."""
        if not self.path.exists():
            return ()
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        return tuple(Row(**_parsed(self.path, line)) for line in lines)


class Record:
    """One sweep's directory. Make one with `Record.create` or `Record.open`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / "lock")
        self._ended: dict[Path, Trial] = {}

    @property
    def name(self) -> str:
        return self.folder.name

    @classmethod
    def create(cls, root: Path, name: str, spec_yaml: str, about: Mapping[str, Any]) -> Record:
        """A new record, locked by this process until it ends or calls `release`.

        Args:
            root: where sweeps are kept.
            name: the new sweep's folder in it.
            spec_yaml: the resolved spec.
            about: facts on the sweep, JSON types: `objective` (text), `rungs`, `searched` (knobs), `trials` (how many),
                `spec_hash`, `command`. Who and when is added here.

        Raises:
            Refused: the name is taken or is none, or the root cannot be written to. Nothing there is touched.
        """
        folder = make_folder(root, name)
        (folder / "trials").mkdir()
        record = cls(folder)
        record._lock.acquire(blocking=False)
        write_whole(folder / "spec.yaml", spec_yaml)
        who = {"format": FORMAT, "created": time.time(), "pid": os.getpid(), "host": os.uname().nodename, "slots": None}
        _write_json(folder / "sweep.json", who | dict(about))
        return record

    @classmethod
    def open(cls, root: Path, name: str) -> Record:
        """The record of an existing sweep.

        Raises:
            Refused: there is none of that name (the nearest one is offered), or a newer program wrote it.
        """
        names = sweep_names(root)
        if name not in names:
            newest = ", ".join(reversed(names[-8:])) + (", …" if len(names) > 8 else "")
            known = f"which has {newest}{nearest(name, names)}" if names else "which has none yet"
            raise Refused(
                [Problem(f"there is no sweep {name!r} in {root}, {known}")],
                next=f"stsweep ls --root {shlex.quote(str(root))}",
            )
        record = cls(root / name)
        written = record.about["format"]
        if written > FORMAT:
            raise Refused(
                [Problem(f"{record.folder} has record format {written}; this program reads up to {FORMAT}")],
                next="pip install --upgrade stsweep",
            )
        return record

    @property
    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = _read_json(self.folder / "sweep.json")
        return about

    @property
    def argument(self) -> str:
        """What a command calls this sweep: NAME, with `--root` where it needs one."""
        return argument(self.folder)

    def discard(self) -> None:
        """Remove a record that `create` has just made and in which nothing has begun."""
        self._lock.release()
        shutil.rmtree(self.folder)

    def release(self) -> None:
        """Let go of the sweep: from now on it counts as ended."""
        self._lock.release()

    def is_driven(self) -> bool:
        """Whether a driver holds the sweep now, in this process or another."""
        if self._lock.is_locked:
            return True
        try:
            with FileLock(self.folder / "lock", blocking=False):
                return False
        except Timeout:
            return True

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def add_trial(self, number: int, point: dict[str, Any], config: dict[str, Any]) -> Path:
        """The folder of a new trial, with its configuration in it."""
        folder = self.trial_folder(number)
        folder.mkdir(parents=True)
        _write_json(folder / "trial.json", {"number": number, "point": point, "config": config})
        return folder

    def end_trial(self, number: int, state: TrialState, reason: str | None = None) -> None:
        """Write the final state of a trial."""
        _write_json(self.trial_folder(number) / "end.json", {"state": state, "reason": reason, "time": time.time()})

    def trials(self) -> list[Trial]:
        """Every trial, by number; those without an end are running, or interrupted when no driver is there."""
        unfinished: TrialState = "running" if self.is_driven() else "interrupted"
        return [self._trial(folder, unfinished) for folder in self._trial_folders()]

    def _trial_folders(self) -> Iterator[Path]:
        for folder in sorted((self.folder / "trials").iterdir()):
            if (folder / "trial.json").exists():
                yield folder

    def _trial(self, folder: Path, unfinished: TrialState) -> Trial:
        if folder in self._ended:  # what has ended does not change, and a follower asks every second
            return self._ended[folder]
        end = _read_json(folder / "end.json") if (folder / "end.json").exists() else {}
        trial = Trial(
            **_read_json(folder / "trial.json"),
            rows=RowLog(folder).read(),
            state=end.get("state", unfinished),
            reason=end.get("reason"),
            folder=folder,
        )
        if end:
            self._ended[folder] = trial
        return trial

    def write_slots(self, slots: int | None) -> None:
        """How many trials run at once; known when Ray is. None: none yet, on a cluster that grows."""
        _write_json(self.folder / "sweep.json", self.about | {"slots": slots})

    def write_outcome(self, text: str) -> None:
        """Keep what was printed at the end."""
        write_whole(self.folder / "outcome.txt", text + "\n")

    def write_baselines(self, baselines: dict[str, float | None]) -> None:
        """Scores on the objective's split of encoders that were not trained here, by name."""
        _write_json(self.folder / "baselines.json", baselines)

    def baselines(self) -> dict[str, float | None]:
        """What `write_baselines` wrote; empty before that."""
        path = self.folder / "baselines.json"
        return _read_json(path) if path.exists() else {}


def best_trial(trials: list[Trial]) -> Trial | None:
    """The completed trial (it reached the top rung) with the highest score; None if no trial completed."""
    completed = [trial for trial in trials if trial.state == "completed"]
    return max(completed, key=lambda trial: FLOOR if trial.score is None else trial.score, default=None)


def busy_share(trials: list[Trial], slots: int) -> float | None:
    """Worker busy time ÷ (slots × time from the first trial's start to the last one's end); None without rows."""
    last = [trial.rows[-1] for trial in trials if trial.rows]
    if not last:
        return None
    span = max(row.time for row in last) - min(row.started for row in last)
    return sum(row.busy_seconds for row in last) / (slots * span) if span > 0 else None
