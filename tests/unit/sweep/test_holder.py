"""Which process holds a sweep: this one, one that has ended, another of its number."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import sweep.holder as holder
from sweep.holder import Holder


@pytest.fixture(params=[Path("/proc"), Path("/no/proc")], ids=["Linux", "without /proc"])
def proc(request, monkeypatch):
    if request.param == Path("/proc") and not Path("/proc/self").exists():
        pytest.skip("this machine has no /proc")
    monkeypatch.setattr(holder, "_PROC", request.param)


def test_a_process_that_lives_is_not_dead_and_another_of_its_number_is_not_it(proc):
    here = Holder.here()
    assert here.is_here
    assert not here.is_dead
    assert replace(here, started="at another time").is_dead


def test_a_process_that_has_ended_is_dead(proc):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = replace(Holder.here(), pid=child.pid, started=holder._started(child.pid))
    assert not found.is_dead
    child.communicate()
    assert found.is_dead


def test_of_another_machine_nobody_knows(proc):
    assert not replace(Holder.here(), boot="another", started="long ago").is_dead
