import os
import signal
import subprocess
import sys

import pytest

from model.cache import build_once, cache_dir
from model.errors import InputError, UnreachableError


def _python(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])


def test_two_processes_at_once_build_one_file_once(tmp_path):
    code = """
import os, sys, time
from pathlib import Path
from model.cache import build_once
folder = Path(sys.argv[1])
def write(path):
    with (folder / "builders").open("a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(0.2)
    path.write_text("whole")
assert build_once(folder / "cache" / "file", write).read_text() == "whole"
"""
    processes = [_python(code, tmp_path) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len((tmp_path / "builders").read_text().split()) == 1


def test_a_killed_builder_leaves_nothing_that_is_taken_as_whole(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from model.cache import build_once
def write(path):
    path.write_text("ha")
    os.kill(os.getpid(), signal.SIGKILL)
build_once(Path(sys.argv[1]) / "file", write)
"""
    assert _python(code, tmp_path).wait() == -signal.SIGKILL
    assert not (tmp_path / "file").exists()
    assert build_once(tmp_path / "file", lambda path: path.write_text("whole")).read_text() == "whole"
    assert {entry.name for entry in tmp_path.iterdir()} <= {"file", "file.lock"}


def test_a_builder_that_fails_leaves_nothing(tmp_path):
    def write(path):
        path.write_text("ha")
        raise UnreachableError("no network")

    with pytest.raises(UnreachableError):
        build_once(tmp_path / "file", write)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"file.lock"}


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="STSWEEP_CACHE"):
        build_once(tmp_path / "file" / "below", lambda path: None)


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("STSWEEP_CACHE")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "stsweep"
