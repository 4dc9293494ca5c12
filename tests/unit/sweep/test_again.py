"""`run --or-resume` on what a killed driver left, and `stop` on a sweep that nobody drives or another host does."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from filelock import FileLock

from sweep import again
from sweep.again import run_or_resume
from sweep.driver_lock import DriverLock
from sweep.errors import Refused, Unreachable
from sweep.files import write_json
from sweep.holder import Holder
from sweep.object_store.sweep import Unshared
from sweep.record import Record
from sweep.root import make_folder
from sweep.stop import stop_driver
from tests.unit.sweep.specs import ABOUT, load

SPEC = """\
name: s
train: {data: {corpus: [/nowhere.txt]}}
search: {loss.temperature: {low: 0.01, high: 0.2}}
objective: {task: demo}
trials: 3
"""


def problems(root, tmp_path) -> str:
    """What keeps the sweep from running: its corpus is not there, unless its name is refused before."""
    with pytest.raises(Refused) as refused:
        run_or_resume(load(tmp_path, SPEC), root=root, name="s", address=None, command="stsweep run")
    return str(refused.value)


def test_a_folder_in_which_nothing_was_recorded_is_begun_anew(tmp_path):
    for left in ((), ("trials",), ("trials", "lock", "driver.json", "sessions.jsonl", "spec.yaml", ".sweep.json.4711")):
        folder = tmp_path / "root" / "s"
        folder.mkdir(parents=True)
        for name in left:
            (folder / name).mkdir() if name == "trials" else (folder / name).write_text("{}")
        assert "/nowhere.txt" in problems(tmp_path / "root", tmp_path)
        assert not folder.exists()


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "trials/0000"])
def test_a_folder_with_anything_else_in_it_stays(tmp_path, name):
    folder = tmp_path / "root" / "s"
    (folder / "trials").mkdir(parents=True)
    (folder / name).mkdir()
    assert "which is no sweep, exists" in problems(tmp_path / "root", tmp_path)
    assert (folder / name).exists()


def test_a_folder_whose_driver_lives_stays(tmp_path):
    folder = tmp_path / "root" / "s"
    (folder / "trials").mkdir(parents=True)
    lock = DriverLock(folder)
    lock.acquire("stsweep run")
    assert "exists" in problems(tmp_path / "root", tmp_path)
    assert (folder / "trials").exists()
    lock.release()


@pytest.mark.parametrize("is_held", [True, False])
def test_a_sweep_that_is_made_between_the_look_and_the_removal_stays(tmp_path, monkeypatch, is_held):
    """Another command took the lock in that moment, and holds it still or has let it go again."""
    folder = tmp_path / "root" / "s"
    folder.mkdir(parents=True)
    other = DriverLock(folder)

    def lock_late(path: Path, **options: bool) -> FileLock:
        other.acquire("stsweep run")
        if not is_held:
            (folder / "sweep.json").write_text("{}")
            other.release()
        return FileLock(path, **options)

    monkeypatch.setattr(again, "FileLock", lock_late)
    assert "exists already" in problems(tmp_path / "root", tmp_path)
    assert (folder / "sessions.jsonl").exists()
    other.release()


def test_who_made_a_folder_that_is_removed_before_it_has_the_lock_is_told(tmp_path, monkeypatch):
    """Of two `--or-resume` at once; what the other one makes there then is not touched."""

    def make_and_lose(root: Path, name: str) -> Path:
        folder = make_folder(root, name)
        (lock := FileLock(folder / "lock")).acquire()

        def remove() -> None:
            shutil.rmtree(folder)
            lock.release()

        threading.Timer(0.1, remove).start()
        return folder

    monkeypatch.setattr("sweep.record.make_folder", make_and_lose)
    with pytest.raises(Unreachable, match="removed by another command"):
        Record.create(tmp_path, "s", "", ABOUT)


def test_only_a_sweep_that_is_driven_here_is_stopped(tmp_path):
    record = Record.create(tmp_path, "s", "", ABOUT)
    me = Holder.here()
    with subprocess.Popen(["sleep", "60"]) as innocent:
        for holder, said in (
            (
                replace(me, boot="another", host="elsewhere", pid=4711),
                "(?s)process 4711 on elsewhere, and this is .*kill",
            ),
            (replace(me, space="a container's", pid=innocent.pid), "which is not seen from here"),
            (replace(me, pid=innocent.pid), "has not said yet which it is"),
            (replace(me, pid=2**22 + os.getpid()), "has not said yet which it is"),
        ):
            write_json(record.folder / "driver.json", asdict(holder))
            with pytest.raises(Refused, match=said):
                stop_driver(Record(record.folder))
        (record.folder / "driver.json").write_text('{"pid": 1, "host": "of an older program"}')
        with pytest.raises(Refused, match="has not said yet"):
            stop_driver(Record(record.folder))
        assert innocent.poll() is None
        innocent.kill()
    record.release()
    with pytest.raises(Refused, match="not being driven"):
        stop_driver(Record(record.folder))


def test_a_driver_says_who_it_is_before_it_asks_the_store_which_may_say_otherwise(tmp_path):
    class Store(Unshared):
        def take(self, *, is_new: bool = False) -> None:
            found.append(lock.driver())
            write_json(tmp_path / "driver.json", asdict(replace(Holder.here(), pid=4711)))

    found: list[Holder | None] = []
    lock = DriverLock(tmp_path, Store())
    assert lock.driver() is None
    lock.acquire("stsweep run")
    found.append(lock.driver())
    assert [(who.pid, who.is_here, who.is_dead) for who in found if who] == [(os.getpid(), True, False)] * 2
    lock.release()
