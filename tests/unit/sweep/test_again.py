"""`run --or-resume` on what a killed driver left, and `stop` on a sweep that nobody drives or another host does."""

from __future__ import annotations

import json
import os

import pytest

from sweep.again import run_or_resume
from sweep.driver_lock import DriverLock
from sweep.errors import Refused
from sweep.record import Record
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


def test_only_a_sweep_that_is_driven_here_is_stopped(tmp_path):
    record = Record.create(tmp_path, "s", "", ABOUT)
    who = json.loads((record.folder / "driver.json").read_text())
    (record.folder / "driver.json").write_text(json.dumps(who | {"host": "elsewhere", "pid": 4711}))
    with pytest.raises(Refused, match=r"(?s)process 4711 on elsewhere, and this is .*on elsewhere: kill 4711"):
        stop_driver(Record(record.folder))
    (record.folder / "driver.json").write_text(json.dumps(who | {"pid": 2**22 + os.getpid()}))
    with pytest.raises(Refused, match="not seen from here"):
        stop_driver(Record(record.folder))
    record.release()
    with pytest.raises(Refused, match="not being driven"):
        stop_driver(Record(record.folder))
