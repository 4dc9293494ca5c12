"""A sweep in MLflow: a parent run named after the sweep, and a run for every trial, written by the driver alone.

`Mirror` follows the record, so nothing hangs on Ray's callbacks (Ray's own MLflow callback blocks the driver while a
server is dead, then ends the sweep). What was sent is kept in the sweep's `mlflow.json`. Whatever is sent twice, since
a process died in between, keeps its run, its step and its time, and MLflow stores it once.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sweep.record import Record
from sweep.tracking.runs import Runs, read_sent

_CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the mirror tries again by itself; seven retries take four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_LAST_TRIES = 2
_DATABASE = "mlflow.db"


def default_uri(root: Path) -> str:
    """The SQLite file of a sweeps' root. MLflow's own default, `./mlruns`, raises since 3.17."""
    return f"sqlite:///{root.resolve() / _DATABASE}"


def mirrored_uri(record: Record) -> str:
    """Where a sweep was sent to; also when its root has moved since, and before anything was sent."""
    return read_sent(record).uri or default_uri(record.folder.parent)


def quiet_client() -> None:
    """Short timeouts, no telemetry and no migration log for this process's MLflow; what the user set is kept."""
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)


def create_store(uri: str) -> None:
    """Make the tables of a database that is not there yet; a few seconds. A server's store is its own affair.

    Two processes that migrate one new SQLite file at once crash, and so do two threads with Alembic, whose context is
    global and which Optuna uses too: hence a lock, and no thread.
    """
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        import logging

        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            MlflowClient(uri).search_experiments(max_results=1)
        except BaseException:
            path.unlink(missing_ok=True)  # half of the tables would be refused for ever
            raise


class Mirror(threading.Thread):
    """Sends a record to MLflow while it grows. No fault of MLflow reaches the sweep: the next round tries again.

    Args:
        record: the sweep.
        uri: MLflow's server or database.
        interval_s: seconds between two rounds.
    """

    def __init__(self, record: Record, uri: str, *, interval_s: float = 1.0) -> None:
        super().__init__(name="mlflow", daemon=True)
        self._record, self._uri, self._interval_s = record, uri, interval_s
        self._runs: Runs | None = None
        self._ending = threading.Event()
        self._fault: Exception | None = None

    def start(self) -> None:
        """Create the store, which no trial and no second thread may do, and begin to follow."""
        quiet_client()
        with suppress(Exception):  # the first round meets the same fault, and keeps it
            create_store(self._uri)
        super().start()

    def run(self) -> None:
        try:
            with FileLock(self._record.folder / "mlflow.lock", blocking=False):
                self._follow()
        except Timeout:
            self._fault = RuntimeError("another process is sending this sweep")

    def _follow(self) -> None:
        while not self._ending.wait(self._interval_s):
            self._send()
        for left in reversed(range(_LAST_TRIES)):
            self._send()
            if self._fault is None or not left:
                return
            time.sleep(self._interval_s)

    def _send(self) -> None:
        try:
            if self._runs is None:
                in_root = self._uri == default_uri(self._record.folder.parent)
                self._runs = Runs(self._record, self._uri, in_root=in_root)
            self._fault = self._runs.send()
        except Exception as fault:
            self._fault = fault

    def finish(self, timeout_s: float) -> list[str]:
        """Send what is left, give every run its final status, and stop. Call it when the record is released.

        Args:
            timeout_s: seconds after which a slow server is left alone.

        Returns:
            What a person should know: nothing, or what was not sent and what to type.
        """
        if self.ident is None:  # never started
            return []
        self._ending.set()
        self.join(timeout_s)
        if self.is_alive():
            self._fault = TimeoutError(f"not done after {timeout_s:g} s")
        if self._fault is None:
            return []
        said = " ".join(str(self._fault).split()) or type(self._fault).__name__
        return [
            f"MLflow at {self._uri} does not have everything of sweep {self._record.name}: {said[:300]}",
            f"Nothing is lost: every row is in {self._record.folder / 'trials'}.",
            f"Next: stsweep ui {self._record.name} --root {self._record.folder.parent}, which sends the rest",
        ]
