"""A real MLflow server that is killed, hangs, is slow, or outlives its driver: it loses nothing and doubles nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sweep.record import Record
from sweep.tracking.mirror import Mirror, create_store, quiet_client
from sweep.tracking.ui import served, unused_port
from sweep.trial_record import RowLog
from tests.unit.sweep.specs import ABOUT, row

TRIALS, ROWS = 3, 8
PLAIN = ("score", "loss", "sentences", "train_seconds", "busy_seconds")


class Server:
    """MLflow's server over a database of its own, always on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, unused_port("127.0.0.1")
        self.uri = f"http://127.0.0.1:{self._port}"
        self.database = folder / "store.db"
        create_store(f"sqlite:///{self.database}")
        self.start()

    def start(self) -> None:
        self._stack = ExitStack()
        server = served(f"sqlite:///{self.database}", "127.0.0.1", self._port, root=self._folder)
        self._pid = self._stack.enter_context(server).pid

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self._pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._stack.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    quiet_client()
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


class SlowDoor:
    """A port that lets every connection through to a server, `delay_s` seconds late."""

    def __init__(self, uri: str) -> None:
        self.delay_s = 0.0
        self._target = ("127.0.0.1", int(uri.rpartition(":")[2]))
        self._door = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        while True:
            inside, _ = self._door.accept()
            threading.Thread(target=self._connect, args=(inside,), daemon=True).start()

    def _connect(self, inside: socket.socket) -> None:
        outside = socket.create_connection(self._target)
        threading.Thread(target=self._pass, args=(outside, inside), daemon=True).start()
        self._pass(inside, outside)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


def _row(index: int, number: int):
    rung = 64 * (index + 1)
    return row(0, 50.0 + number + index / 7, rung_index=index, rung=rung, sentences=rung, time=1_700_000_000.5 + index)


def _write(record: Record, number: int, first: int, end: int, pause_s: float) -> None:
    folder = record.trial_folder(number)
    if first == 0:
        record.add_trial(number, {}, {"loss.temperature": 0.01 * number, "seed": 0})
    for index in range(first, end):
        time.sleep(pause_s)
        RowLog(folder).append(_row(index, number))


def _stored(server: Server, name: str) -> dict[str, tuple[str, list[tuple]]]:
    """Run name → status and metrics of every run that nobody deleted, straight from the database."""
    with sqlite3.connect(server.database) as store:
        runs = store.execute(
            "select name, status, run_uuid from runs where lifecycle_stage = 'active' and (name = ? or name like ?)",
            (name, f"{name}/%"),
        ).fetchall()
        assert len({run[0] for run in runs}) == len(runs), f"a doubled run: {runs}"
        points = "select key, step, timestamp, value from metrics where run_uuid = ? order by key, step, timestamp"
        return {run: (status, store.execute(points, (uuid,)).fetchall()) for run, status, uuid in runs}


def _assert_whole(server: Server, record: Record) -> None:
    """The store has every row of the record once, and the runs have ended."""
    expected = {record.name: ("FINISHED", [])}
    for folder in sorted((record.folder / "trials").iterdir()):
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        points = [(key, said["rung_index"], int(said["time"] * 1000), said[key]) for key in PLAIN for said in rows]
        expected[f"{record.name}/{folder.name}"] = ("FINISHED", sorted(points))
    assert _stored(server, record.name) == expected


def _finish(record: Record, mirror: Mirror, timeout_s: float = 60.0) -> list[str]:
    record.release()
    return mirror.finish(timeout_s)


def _new(root: Path, name: str) -> Record:
    return Record.create(root, name, f"name: {name}\n", ABOUT | {"spec_hash": "abc"})


def test_a_server_killed_and_started_again_has_every_row_once(server, tmp_path, capfd):
    record = _new(tmp_path, "killed")
    mirror = Mirror(record, server.uri, interval_s=0.2)
    mirror.start()
    writers = [threading.Thread(target=_write, args=(record, n, 0, ROWS, 0.8)) for n in range(TRIALS)]
    for writer in writers:
        writer.start()
    while len(_stored(server, "killed").get("killed/0000", ("", []))[1]) < 2 * len(PLAIN):
        time.sleep(0.1)
    server.kill()
    time.sleep(2)
    server.start()
    for number, writer in enumerate(writers):
        writer.join()
        record.end_trial(number, "completed")
    assert _finish(record, mirror) == []
    _assert_whole(server, record)
    said = capfd.readouterr()
    assert said.out == ""
    assert [line.split(" (")[0].removeprefix(f"MLflow at {server.uri} ") for line in said.err.splitlines()] == [
        "gets nothing for now",
        "is back and has what it missed",
    ]


def test_a_run_made_by_a_request_whose_answer_came_too_late_is_not_doubled(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    record = _new(tmp_path, "hung")
    mirror = Mirror(record, server.uri, interval_s=0.1)
    mirror.start()
    _write(record, 0, 0, 1, 0.0)
    while "hung/0000" not in _stored(server, "hung"):
        time.sleep(0.1)
    server.signal(signal.SIGSTOP)  # it accepts connections and answers none
    try:
        _write(record, 1, 0, ROWS, 0.4)
    finally:
        server.signal(signal.SIGCONT)  # and now it does all that it was asked for
    for number in range(2):
        record.end_trial(number, "completed")
    assert _finish(record, mirror) == []
    _assert_whole(server, record)


def test_a_slow_server_is_left_alone_in_time_and_gets_the_rest_later(server, tmp_path):
    door = SlowDoor(server.uri)
    door.delay_s = 0.3
    record = _new(tmp_path, "slow")
    mirror = Mirror(record, door.uri, interval_s=0.1)
    mirror.start()
    for number in range(TRIALS):
        _write(record, number, 0, ROWS, 0.0)
        record.end_trial(number, "completed")
    while "slow/0000" not in _stored(server, "slow"):
        time.sleep(0.1)
    begin = time.monotonic()
    assert "not done after 0.5 s" in _finish(record, mirror, timeout_s=0.5)[0]
    assert time.monotonic() - begin < 1
    door.delay_s = 0.0
    mirror.join()
    later = Mirror(record, door.uri, interval_s=0.1)
    later.start()
    assert later.finish(timeout_s=60) == []
    _assert_whole(server, record)


DRIVER = """
import sys, time
from pathlib import Path
from sweep.tracking.mirror import Mirror
from tests.cluster.test_tracking_outage import _new, _write
record = _new(Path(sys.argv[1]), "orphan")
Mirror(record, sys.argv[2], interval_s=0.1).start()
for index in range(1000):
    for number in range(2):
        _write(record, number, index, index + 1, 0.1)
"""


def test_a_killed_driver_s_runs_are_continued_by_the_next_driver(server, tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), server.uri], cwd=Path(__file__).parents[2])
    while len(_stored(server, "orphan").get("orphan/0001", ("", []))[1]) < 2 * len(PLAIN):
        assert driver.poll() is None
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    before = _stored(server, "orphan")
    record = Record.open(tmp_path, "orphan")
    record.drive("stsweep resume orphan")
    mirror = Mirror(record, server.uri, interval_s=0.1)
    mirror.start()
    for trial in record.trials():
        _write(record, trial.number, len(trial.rows), len(trial.rows) + 3, 0.1)
        record.end_trial(trial.number, "completed")
    assert _finish(record, mirror) == []
    after = _stored(server, "orphan")
    assert {name: status for name, (status, _) in before.items()} == dict.fromkeys(after, "RUNNING")
    assert all(set(before[name][1]) < set(after[name][1]) for name in after if name != "orphan")
    _assert_whole(server, record)
