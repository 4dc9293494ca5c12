"""A sweep in MLflow: a parent run named after the sweep, and a run for every trial, written by the driver alone.

`Mirror` follows the record, so nothing hangs on Ray's callbacks (Ray's own MLflow callback blocks the driver while a
server is dead, then ends the sweep). What was sent is kept in the sweep's `mlflow.json`. Whatever is sent twice, since
a process died or a server did not answer in between, keeps its run, its step and its time, and MLflow stores it once.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sweep.record import Record
from sweep.root import said_place
from sweep.say import say
from sweep.spec.yaml_file import read_yaml
from sweep.tracking.runs import Runs
from sweep.tracking.sent import read_sent

_CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the mirror tries again by itself; seven retries take four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else two lines a trial among the results, and one more request
}
_LONGEST_WAIT_S = 30.0
_DATABASE = "mlflow.db"


def default_uri(root: Path) -> str:
    """The SQLite file of a sweeps' root. MLflow's own default, `./mlruns`, raises since 3.17."""
    return f"sqlite:///{root.resolve() / _DATABASE}"


def mirrored_uri(record: Record) -> str:
    """Where a sweep is sent to: what its spec says, whether or not it ever answered; else the root's own database."""
    spec = read_yaml(record.folder / "spec.yaml").data
    said = spec["tracking_uri"] if "tracking_uri" in spec else read_sent(record).uri  # a record of an older program
    return said or default_uri(record.folder.parent)


def quiet_client() -> None:
    """Short timeouts, no telemetry and no migration log for this process's MLflow; what the user set is kept."""
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a traceback of what it raises all the same


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
        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            MlflowClient(uri).search_experiments(max_results=1)
        except BaseException:
            path.unlink(missing_ok=True)  # half of the tables would be refused for ever
            raise


class Mirror(threading.Thread):
    """Sends a record to MLflow while it grows. No fault of MLflow reaches the sweep: a later round tries again.

    While the store does not take anything, the rounds are ever further apart, up to half a minute. Standard error says
    once that it is away and once that it is back.

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
        self._is_away = self._was_away = False

    def start(self) -> None:
        """Create the store, which no trial and no second thread may do, and begin to follow."""
        quiet_client()
        with suppress(Exception):  # the first round meets the same fault, and keeps it
            create_store(self._uri)
        super().start()

    def run(self) -> None:
        lock = FileLock(self._record.folder / "mlflow.lock", blocking=False)
        while True:
            is_last = self._ending.is_set()
            try:
                with lock:
                    self._follow()
                return
            except Timeout:  # `stsweep ui` sends what an earlier driver could not
                self._fault = RuntimeError("another process is sending this sweep")
            except OSError as fault:  # the sweep of somebody else, say
                self._fault = fault
            if is_last:
                return
            self._ending.wait(self._interval_s)

    def _follow(self) -> None:
        wait_s = self._interval_s
        while not self._ending.wait(wait_s):
            self._send()
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S) if self._is_away else self._interval_s
        was_away_before = self._is_away
        if self._fault is not None or self._was_away:
            self._runs = None  # a run that was refused may be taken now, and one made unseen has surely appeared
        self._send()
        if self._fault is not None and not was_away_before:
            time.sleep(self._interval_s)
            self._send()

    def _send(self) -> None:
        if not self._record.has_trials():
            return  # a new sweep that is closed before its first trial leaves nothing behind, there neither
        try:
            if self._runs is None:
                in_root = self._uri == default_uri(self._record.folder.parent)
                self._runs = Runs(self._record, self._uri, in_root=in_root)
            self._fault = self._runs.send()
        except Exception as fault:
            self._fault, self._runs = fault, None
            if not self._is_away:
                later = "; the sweep goes on, and sends the rest later" if self._record.is_driven() else ""
                self._say(f"gets nothing for now ({_reason(fault)}){later}")
            self._is_away = self._was_away = True
        else:
            if self._is_away:
                self._say("is back and has what it missed")
            self._is_away = False

    def _say(self, what: str) -> None:
        say(f"MLflow at {self._uri} {what}", sys.stderr)

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
        return [
            f"MLflow at {self._uri} does not have everything of sweep {self._record.name}: {_reason(self._fault)}",
            f"Nothing is lost: every row is in {said_place(self._record.folder)}/trials.",
            f"Next: stsweep ui {self._record.argument}, which sends the rest",
        ]


def _reason(fault: BaseException) -> str:
    """What went wrong in a few words: of a failed connection or a database what it said, five exceptions down."""
    deepest = fault
    while (cause := deepest.__cause__ or deepest.__context__) is not None:
        deepest = cause
    told = deepest if isinstance(deepest, OSError | sqlite3.Error) else fault
    return (" ".join(str(told).split()) or type(told).__name__)[:300]
