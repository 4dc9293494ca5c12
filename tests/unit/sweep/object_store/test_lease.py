"""The lease under file://: one holder, dead ones broken, a holder that was suspended gives up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sweep.holder import Holder
from sweep.object_store.lease import Lease
from sweep.object_store.store import Store, open_store

HOME = Path(__file__).parents[4]
QUICK = {"expiry_s": 0.4, "held_s": 0.25, "every_s": 0.04}

HOLD = """
import sys
from sweep.object_store.lease import Lease
from sweep.object_store.store import open_store
lease = Lease(open_store(sys.argv[1]).folder("lease"), lambda why: print(why, flush=True),
              expiry_s=float(sys.argv[2]), held_s=0.25, every_s=float(sys.argv[3]))
print(lease.take(), flush=True)
sys.stdin.readline()
print(lease.is_held(), flush=True)
"""


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(f"file://{tmp_path}").folder("lease")


def hold(store: Store, expiry_s: float = 0.4, every_s: float = 0.04) -> subprocess.Popen[str]:
    """Another process that has taken the lease."""
    root = store.uri
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, root, str(expiry_s), str(every_s)],
        cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "None\n"
    return process


def put(store: Store, holder: Holder, age_s: float = 0.0) -> None:
    store.write("other.json", json.dumps(asdict(holder)).encode())
    written = time.time() - age_s
    os.utime(Path(store.path) / "other.json", (written, written))


def elsewhere() -> Holder:
    return replace(Holder.here(), host="far", boot="another machine", pid=1)


def test_one_of_two_holds_it_and_the_other_hears_who(store):
    first, second = Lease(store, **QUICK), Lease(store, **QUICK)
    assert first.take() is None
    time.sleep(0.5)
    found = second.take()
    assert found is not None, "renewed, it lives longer than its expiry"
    assert f"process {os.getpid()} on {os.uname().nodename} since 2" in str(found)
    assert not second.is_held()
    assert first.is_held()
    first.release()
    assert store.objects() == []
    assert second.take() is None
    second.release()


def test_of_many_that_come_at_once_at_most_one_holds_it(store):
    leases = [Lease(store, expiry_s=60, held_s=45, every_s=10) for _ in range(8)]
    at_once, answers = threading.Barrier(8), []

    def take(lease: Lease) -> None:
        at_once.wait()
        answers.append(lease.take())

    threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [lease for lease in leases if lease.is_held()]
    assert len(held) == answers.count(None) <= 1
    assert len(store.objects()) == len(held)
    for lease in held:
        lease.release()


def test_the_lease_of_a_process_of_this_machine_that_was_killed_is_free_at_once(store):
    process = hold(store, expiry_s=60, every_s=10)  # killed while it writes, it would leave an object to wait for
    mine = Lease(store)
    assert mine.take() is not None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert mine.take() is None
    mine.release()


def test_a_process_of_the_same_number_that_began_at_another_time_is_not_the_holder(store):
    put(store, replace(Holder.here(), started="1"))
    mine = Lease(store)
    assert mine.take() is None
    mine.release()


def test_a_lease_of_another_machine_is_broken_when_it_has_expired_and_not_before(store):
    put(store, elsewhere(), age_s=50)
    mine = Lease(store)
    found = mine.take()
    assert found is not None
    assert 8 < found.expires_s < 11
    assert "process 1 on far" in str(found)
    put(store, elsewhere(), age_s=61)
    assert mine.take() is None
    mine.release()
    assert store.objects() == []


def test_a_lease_that_is_just_being_written_counts_as_alive(store):
    store.write("other.json", b"")
    found = Lease(store).take()
    assert found is not None
    assert "just writing" in str(found)


def test_a_holder_that_was_suspended_gives_up_and_says_so_once(store):
    process = hold(store)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.5)
    mine = Lease(store, **QUICK)
    found = mine.take()
    assert found is None
    os.kill(process.pid, signal.SIGCONT)
    said, _ = process.communicate("\n", timeout=10)
    assert said.count("the lease on the sweep was lost") <= 1
    assert said.endswith("False\n")
    time.sleep(0.1)
    assert mine.is_held(), "what the other one wrote late takes nothing from it"
    mine.release()


def test_a_holder_whose_lease_was_removed_hears_of_it(store):
    heard = threading.Event()
    mine = Lease(store, lambda why: heard.set(), **QUICK)
    assert mine.take() is None
    store.remove([each.name for each in store.objects()])
    assert heard.wait(2)
    assert not mine.is_held()
    mine.release()


def test_a_holder_that_cannot_reach_the_store_gives_up_before_others_may_take_it(tmp_path, store):
    heard: list[str] = []
    mine = Lease(store, heard.append, **QUICK)
    assert mine.take() is None
    begin = time.monotonic()
    (tmp_path / "lease").rename(tmp_path / "away")
    (tmp_path / "lease").write_text("no folder")  # so that every call fails
    while mine.is_held():
        assert time.monotonic() - begin < 0.6
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(heard) == 1
    (tmp_path / "lease").unlink()
    mine.release()


def test_a_reader_sees_who_holds_it_and_writes_nothing(store):
    assert Lease(store).holder() is None
    mine = Lease(store, **QUICK)
    assert mine.take() is None
    found = Lease(store).holder()
    assert found is not None
    assert found.holder is not None
    assert found.holder.pid == os.getpid()
    assert len(store.objects()) == 1
    mine.release()
