"""The record of one sweep: a directory that is the truth for everything else (tables, Optuna, MLflow, export).

    ROOT/NAME/
        sweep.json            what was asked: objective, rungs, trials, searched knobs, slots, hash of the spec, …
        code/                 the code that runs in the workers; ray/: what Tune keeps, never read again
        spec.yaml             the resolved spec
        lock, driver.json     held by the driver while it runs; which process on which machine it is
        sessions.jsonl        one line a driver: when it started, with which command
        pause                 there while the sweep closes: workers save a checkpoint and end
        study.log             Optuna's study, derived from the trials here (written by the driver's searcher alone)
        warm_start.json       trials of earlier sweeps that the study began with
        baselines.json        scores of the untrained encoder, the teacher and the lexical floor
        mlflow.json           what MLflow has been sent (`sweep.tracking.sent`); mlflow.lock: who sends
        outcome.txt           what was printed at the end
        trials/0007/
            trial.json        number, the sampled point, the whole flat configuration, bracket, the sampler's notes
            rows.jsonl        one line an evaluation, written by the worker before it reports to Tune
            error.txt         the worker's traceback, when there is one; note.txt: a checkpoint that was damaged
            deaths.jsonl      what Ray said when its worker died; no_memory.txt: it was killed for memory
            busy.json         how long it had run at its last checkpoint; attempt: how often a worker was given it
            end.json          the final state, written by the driver
            checkpoint/       of a trial that has not ended: weights, optimiser, position, manifest with hashes
            encoder/          the trained encoder of one of the best trials that reached the top rung

A file appears whole or not at all (temporary name, fsync, rename); rows are appended with fsync, and a torn last line
(the writer was killed inside a write) is ignored, and cut off when the sweep is resumed. Reading needs neither Ray nor
Optuna.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.driver_lock import DriverLock, why_unsafe
from sweep.errors import Problem, Refused
from sweep.files import is_locked, read_json, repair_lines, write_json, write_whole
from sweep.object_store.root import refresh, share_of
from sweep.record_faults import check_facts, check_numbers
from sweep.root import argument, make_folder, no_such_sweep, sweep_names
from sweep.trial_folder import remove_leftovers
from sweep.trial_record import RowLog, Trial, TrialState, read_trial

FORMAT = 4


class Record:
    """One sweep's directory. Make one with `Record.create` or `Record.open`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.share = share_of(folder)
        self._lock = DriverLock(folder, self.share)
        self._ended: dict[Path, Trial] = {}

    @property
    def name(self) -> str:
        return self.folder.name

    @classmethod
    def create(
        cls,
        root: Path,
        name: str,
        spec_yaml: str,
        about: Mapping[str, Any],
        *,
        warm_start: Sequence[Mapping[str, Any]] = (),
    ) -> Record:
        """A new record, locked by this process until it ends or calls `release`.

        Args:
            root: where sweeps are kept.
            name: the new sweep's folder in it.
            spec_yaml: the resolved spec.
            about: facts on the sweep, JSON types: `objective` (text), `rungs`, `searched` (knobs), `trials` (how many),
                `spec_hash`, `command`. Who and when is added here.
            warm_start: trials of earlier sweeps that the study begins with (`sweep.warm_start`).

        Raises:
            Refused: the name is taken or is none, or the root cannot be written to. Nothing there is touched.
        """
        folder = make_folder(root, name)
        record = cls(folder)
        try:
            record._lock.acquire(str(about.get("command", "")), is_new=True)
        except Refused:  # another machine had the name at the same URI
            if record.share.uri is not None and not is_locked(folder / "lock"):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / "trials").mkdir()
        write_whole(folder / "spec.yaml", spec_yaml)
        if warm_start:
            write_json(folder / "warm_start.json", warm_start)
        # Last, for it makes the folder a sweep.
        write_json(folder / "sweep.json", {"format": FORMAT, "created": time.time(), "slots": None} | dict(about))
        record.share.publish(surely=True)
        return record

    @classmethod
    def open(cls, root: Path, name: str) -> Record:
        """The record of an existing sweep.

        Raises:
            Refused: there is none of that name (the nearest one is offered), a newer program wrote it, or it is
                damaged.
        """
        refresh(root, name)
        if name not in sweep_names(root):
            raise no_such_sweep(root, name)
        record = cls(root / name)
        check_facts(record.about, record.folder, newest=FORMAT)
        return record

    def check_drivable(self) -> None:
        """Whether this user may drive this sweep on.

        Raises:
            Refused: the folder is not the user's own or open to all (a sweep's folder is code: its code/ runs in the
                workers), an older program wrote it, or trials are missing.
        """
        if problem := why_unsafe(self.folder):
            raise Refused([problem], next=f"chmod go-w {shlex.quote(str(self.folder))}, or a copy of your own")
        if self.about["format"] < FORMAT:
            older = f"{self.folder} has record format {self.about['format']}, which can be read, not driven on"
            raise Refused(
                [Problem(f"{older}; this program drives format {FORMAT}")], next="stsweep run SPEC --name NEW"
            )
        check_numbers([trial.number for trial in self.trials()], self.folder, first=len(self.warm_start()))

    def drive(self, command: str) -> None:
        """Become this sweep's driver, and mend what a killed one left behind.

        Raises:
            Refused: as `check_drivable`.
            Unreachable: another process drives it.
        """
        self.check_drivable()
        self._lock.acquire(command)
        self.resume_trials()
        self.change(closed=None)
        self.share.publish(surely=True)
        for folder in self._numbered():
            if not (folder / "trial.json").exists():  # killed before it was written: no trial of that number has begun
                shutil.rmtree(folder)
                continue
            repair_lines(RowLog(folder).path)
            if (folder / "end.json").exists():
                remove_leftovers(folder)
                self.share.settle(int(folder.name))

    @property
    def about(self) -> dict[str, Any]:
        return read_json(self.folder / "sweep.json")  # type: ignore[no-any-return]

    def write_spec(self, spec_yaml: str) -> None:
        """Replace the resolved spec, whose places or limits have changed."""
        write_whole(self.folder / "spec.yaml", spec_yaml)
        self.share.publish()

    def change(self, **facts: Any) -> None:
        """Change facts of `about`: the number of trials, the slots."""
        write_json(self.folder / "sweep.json", self.about | facts)
        self.share.publish()

    @property
    def argument(self) -> str:
        """What a command calls this sweep: NAME, with `--root` where it needs one."""
        return argument(self.folder)

    def discard(self) -> None:
        """Remove a record that `create` has just made and in which nothing has begun."""
        self.share.discard()
        self._lock.release()
        shutil.rmtree(self.folder)

    def release(self) -> None:
        """Let go of the sweep: from now on it counts as ended."""
        self._lock.release()

    def is_driven(self) -> bool:
        """Whether a driver holds the sweep now, in this process or another."""
        return self._lock.is_held()

    @property
    def pause_file(self) -> Path:
        """While it is there, every trial saves a checkpoint and ends."""
        return self.folder / "pause"

    def pause_trials(self, why: str) -> None:
        """Ask every running trial to save a checkpoint and end."""
        write_whole(self.pause_file, why + "\n")
        self.share.pause()

    def resume_trials(self) -> None:
        """Take that back."""
        self.pause_file.unlink(missing_ok=True)

    def sessions(self) -> list[dict[str, Any]]:
        """Every driver so far (`DriverLock.sessions`)."""
        return self._lock.sessions()

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def add_trial(
        self,
        number: int,
        point: Mapping[str, Any],
        config: Mapping[str, Any],
        *,
        bracket: int = 0,
        notes: Mapping[str, Any] | None = None,
    ) -> Path:
        """The folder of a new trial, with its configuration in it.

        Args:
            number: the trial's, in the study too.
            point: the sampled values.
            config: the whole flat configuration.
            bracket: HyperBand's.
            notes: what the sampler must find again after a restart.
        """
        folder = self.trial_folder(number)
        folder.mkdir(parents=True)
        about = {"number": number, "point": point, "config": config, "bracket": bracket, "notes": notes or {}}
        write_json(folder / "trial.json", about)
        self.share.publish(number, surely=True)
        return folder

    def notes(self, number: int) -> dict[str, Any]:
        """The sampler's notes on a trial."""
        return dict(read_json(self.trial_folder(number) / "trial.json").get("notes", {}))

    def end_trial(self, number: int, state: TrialState, reason: str | None = None) -> None:
        """Write the final state of a trial. Its checkpoint goes: nothing continues from it any more."""
        folder = self.trial_folder(number)
        write_json(folder / "end.json", {"state": state, "reason": reason, "time": time.time()})
        self.share.publish(number)
        self.share.settle(number)
        remove_leftovers(folder)

    def drop_encoder(self, number: int) -> None:
        """Remove a trial's encoder; its rows stay."""
        shutil.rmtree(self.trial_folder(number) / "encoder", ignore_errors=True)
        self.share.drop_encoder(number)

    def trials(self) -> list[Trial]:
        """Every trial, by number; those without an end are running, or interrupted when no driver is there."""
        unfinished: TrialState = "running" if self.is_driven() else "interrupted"
        return [self._trial(folder, unfinished) for folder in self._trial_folders()]

    def has_trials(self) -> bool:
        """Whether any has been proposed."""
        return next(self._trial_folders(), None) is not None

    def trial(self, number: int) -> Trial:
        """One trial, as `trials` has it."""
        return self._trial(self.trial_folder(number), "running" if self.is_driven() else "interrupted")

    def _trial_folders(self) -> Iterator[Path]:
        for folder in self._numbered():
            if folder in self._ended or (folder / "trial.json").exists():
                yield folder

    def _numbered(self) -> list[Path]:
        """What lies in `trials` under a number; a file manager may have left something of its own there."""
        found = [each for each in (self.folder / "trials").iterdir() if each.name.isdecimal()]
        return sorted(found, key=lambda each: int(each.name))  # 10000 after 9999

    def _trial(self, folder: Path, unfinished: TrialState) -> Trial:
        if folder in self._ended:  # what has ended does not change, and a follower asks every second
            return self._ended[folder]
        trial = read_trial(folder, unfinished)
        if trial.ended is not None:
            self._ended[folder] = trial
        return trial

    def write_outcome(self, text: str) -> None:
        """Keep what was printed at the end."""
        write_whole(self.folder / "outcome.txt", text + "\n")

    def warm_start(self) -> list[dict[str, Any]]:
        """Trials of earlier sweeps that the study begins with."""
        path = self.folder / "warm_start.json"
        return read_json(path) if path.exists() else []

    def write_baselines(self, baselines: dict[str, float | None]) -> None:
        """Scores on the objective's split of encoders that were not trained here, by name."""
        write_json(self.folder / "baselines.json", baselines)
        self.share.publish()

    def baselines(self) -> dict[str, float | None]:
        """What `write_baselines` wrote; empty before that."""
        path = self.folder / "baselines.json"
        return read_json(path) if path.exists() else {}
