"""A small sweep in processes that can be killed: its driver, its trials, its whole Ray."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sweep.object_store.root import root_folder
from sweep.record import Record

SPEC = """
name: NAME
train:
  encoder: {{name: {encoder}, keep_layers: [0, 5]}}
  data: {{corpus: [{corpus}]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: 3200}}
  precision: fp32
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
  encoder.pooling: {{choices: [avg_last_hidden, avg_first_last]}}
sampler: {{name: tpe, startup_trials: 3}}
scheduler: {{name: asha, grace: 800, reduction_factor: 2}}
objective: {{task: demo, split: dev}}
trials: {trials}
resources: {{concurrent: {slots}}}
checkpoint_seconds: {checkpoint_seconds}
"""


class Sweep:
    """One sweep of `workshop`, driven by processes of its own, with a Ray folder of its own."""

    def __init__(
        self,
        workshop: Path,
        environment: dict[str, str],
        name: str,
        *,
        trials: int = 3,
        slots: int = 1,
        checkpoint_seconds: float = 0.5,
        root: Path | str | None = None,
        **changes: str,
    ) -> None:
        self.workshop, self.name = workshop, name
        self.root = root or workshop / "sweeps"
        self.ray_folder = Path(f"/tmp/rk{os.getpid()}-{name[:8]}")  # short: a socket's path has at most 107 bytes
        self.ray_folder.mkdir(exist_ok=True)
        self.environment = environment | {"RAY_TMPDIR": str(self.ray_folder)} | changes
        text = SPEC.format(
            encoder=workshop / "encoder",
            corpus=workshop / "corpus.txt",
            trials=trials,
            slots=slots,
            checkpoint_seconds=checkpoint_seconds,
        )
        (workshop / f"{name}.yaml").write_text(text.replace("NAME", name))
        self.log = workshop / f"{name}.log"
        self.driver: subprocess.Popen[bytes] | None = None

    @property
    def record(self) -> Record:
        return Record.open(root_folder(str(self.root)), self.name)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a driver: `run`, or `resume` if the sweep is there; in a session of its own, as a terminal gives it."""
        command = arguments or (("resume", self.name) if self.is_there() else ("run", f"{self.name}.yaml"))
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "sweep", *command, "--root", str(self.root)],
                cwd=self.workshop, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self.driver

    def is_there(self) -> bool:
        return (Path(self.root) / self.name).exists()

    def run_to_the_end(self) -> int:
        """Drive the sweep until it ends; the exit code."""
        return self.start().wait(timeout=300)

    def wait_for(self, what: str, timeout_s: float = 240, every_s: float = 0.1) -> None:
        """Until a file that matches `what` in the sweep's folder is there and has something in it."""
        assert self.driver is not None
        folder, deadline = Path(self.root) / self.name, time.monotonic() + timeout_s
        while not any(path.is_dir() or path.stat().st_size for path in folder.glob(what)):
            assert self.driver.poll() is None and time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(every_s)

    def processes(self) -> list[int]:
        """Every process of its Ray, by the folder in their command lines or environment."""
        return [pid for pid in _pids() if pid != os.getpid() and str(self.ray_folder) in _about(pid)]

    def raylets(self) -> list[int]:
        return [pid for pid in self.processes() if _name(pid).startswith("raylet")]

    def workers(self) -> list[int]:
        """The processes that train."""
        return [pid for pid in self.processes() if "ImplicitFunc" in title_of(pid)]

    def kill(self, what: str) -> bool:
        """SIGKILL the `driver`, a `trial` or all of `ray`; whether there was one."""
        assert self.driver is not None
        found = {"driver": [self.driver.pid], "trial": self.workers()[:1], "ray": self.processes()}[what]
        found = [pid for pid in found if what != "ray" or pid != self.driver.pid]
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return bool(found)

    def wait_for_no_process(self, timeout_s: float = 120) -> None:
        """Agents of a killed raylet try for 60 s to tell its dead head (`publish_error_to_driver` in ray/_private)."""
        deadline = time.monotonic() + timeout_s
        while left := self.processes():
            assert time.monotonic() < deadline, [(title_of(pid), pid) for pid in left]
            time.sleep(0.2)

    def clean(self) -> None:
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(self.ray_folder, ignore_errors=True)


def outcome(record: Record) -> list[dict[str, Any]]:
    """What a sweep found, without the times: the same for the same sweep, however often it was killed."""
    fields = ("rung_index", "rung", "step", "sentences", "score", "failure", "loss", "alignment", "is_end")
    return [
        {
            "number": trial.number,
            "point": trial.point,
            "state": trial.state,
            "rows": [{name: getattr(row, name) for name in fields} for row in trial.rows],
        }
        for trial in record.trials()
    ]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> str:
    try:
        return (Path("/proc") / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""


def _about(pid: int) -> str:
    if "State:\tZ" in _read(pid, "status"):
        return ""
    return _read(pid, "cmdline") + _read(pid, "environ")


def _name(pid: int) -> str:
    return _read(pid, "comm").strip()


def title_of(pid: int) -> str:
    return _read(pid, "cmdline").replace("\0", " ")
