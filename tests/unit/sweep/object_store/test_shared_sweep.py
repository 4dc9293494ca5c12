"""A record at a file:// URI: two machines are two caches; workers, readers and drivers that are cut off."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sweep.errors import Refused, Unreachable
from sweep.files import write_json
from sweep.holder import Holder
from sweep.object_store import trial as worker
from sweep.object_store.copy import SweepCopy
from sweep.object_store.folder import Fenced, SharedFolder
from sweep.object_store.root import await_free, refresh_all, root_folder
from sweep.object_store.store import StorageFault
from sweep.object_store.trial import TrialFolder, TrialHome, open_trial
from sweep.record import Record
from sweep.root import argument, make_folder
from sweep.trial import Job
from sweep.trial_record import RowLog, begin_attempt
from tests.unit.sweep.specs import ABOUT, RUNGS, row

HOME = Path(__file__).parents[4]
BIG = bytes(range(256)) * 1024


@pytest.fixture
def uri(tmp_path) -> str:
    (tmp_path / "there").mkdir()
    return f"file://{tmp_path}/there"


@pytest.fixture
def machine(tmp_path, uri, monkeypatch) -> Callable[[str], Path]:
    """Go to a machine, which is a cache; the root as its commands see it."""

    def go(name: str) -> Path:
        monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / name))
        return root_folder(uri)

    return go


def create(root: Path, spec: str = "name: s\n") -> Record:
    return Record.create(root, "s", spec, ABOUT)


def begin(record: Record, number: int) -> int:
    record.add_trial(number, {"loss.temperature": 0.25}, {"loss.temperature": 0.25, "seed": 0})
    return hand_out(record, number)


def hand_out(record: Record, number: int) -> int:
    """As the bridge gives a trial to a worker; which attempt at it this is."""
    attempt = begin_attempt(record.trial_folder(number))
    record.share.hand_out(number)
    return attempt


def at_worker(record: Record, number: int, attempt: int, **options):
    """A worker's folder for the trial, on whichever node."""
    return open_trial(TrialHome(Path("unused") / f"{number:04d}", attempt, record.share.place), **options)


def train(record: Record, number: int, attempt: int, rows: int, **files: bytes) -> None:
    """What a worker does, on whichever node."""
    with at_worker(record, number, attempt) as at:
        write(at, rows, **files)
        at.publish()


def write(at: TrialFolder, rows: int, **files: bytes) -> None:
    log = RowLog(at.folder)
    for index in range(len(log.read()), rows):
        log.append(row(index, 40.0 + index))
    for path, content in files.items():
        file = at.folder / path.replace("__", "/")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)


def there(uri: str, kind: str = "") -> list[str]:
    """What lies at the URI, by another program's eyes."""
    root = Path(uri.removeprefix("file://"))
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file() and kind in str(file))


def test_what_a_driver_and_its_workers_wrote_is_read_on_another_machine(machine, uri):
    record = create(machine("driver"))
    record.write_baselines({"untrained": 12.5})
    attempt = begin(record, 0)
    machine("node")
    train(record, 0, attempt, 2, checkpoint__state=BIG)
    elsewhere = Record.open(machine("elsewhere"), "s")
    (trial,) = elsewhere.trials()
    assert [each.score for each in trial.rows] == [40.0, 41.0]
    assert (trial.state, trial.config["seed"]) == ("running", 0), "its driver lives, on another machine"
    assert elsewhere.baselines() == {"untrained": 12.5}
    assert elsewhere.argument == f"s --root {uri}"
    assert not (trial.folder / "checkpoint" / "state").exists(), "nobody needs it there"
    record.release()
    (trial,) = Record.open(machine("elsewhere"), "s").trials()
    assert trial.state == "interrupted"


def test_the_root_of_the_environment_is_not_said_again(machine, uri, monkeypatch):
    record = create(machine("driver"))
    monkeypatch.setenv("STSWEEP_ROOT", f"{uri}/")
    assert argument(record.folder) == "s"
    record.release()


def test_a_second_driver_is_refused_on_any_machine_and_changes_nothing(machine, uri):
    record = create(machine("driver"))
    before = there(uri)
    other = Record.open(machine("elsewhere"), "s")
    with pytest.raises(Unreachable, match="is driven by process") as refused:
        other.drive("stsweep resume s")
    assert "renewed" in str(refused.value)
    with pytest.raises(Refused, match="exists already"):
        create(machine("third"))
    assert there(uri) == before
    record.release()
    other = Record.open(machine("elsewhere"), "s")
    other.drive("stsweep resume s")
    assert len(other.sessions()) == 2
    other.release()


def test_who_comes_after_a_machine_that_died_waits_for_its_lease_and_not_for_a_living_one(machine, uri, tmp_path):
    root = machine("driver")
    create(root).release()
    holder = replace(Holder.here(), boot="another machine", host="far")
    lease = tmp_path / "there" / "s" / "lease" / "other.json"
    lease.write_text(json.dumps(asdict(holder)))
    begin = time.monotonic()
    await_free(root, "s", expiry_s=0.3, look_s=0.02)
    assert 0.2 < time.monotonic() - begin < 2
    lease.touch()
    threading.Timer(0.2, lease.touch).start()
    begin = time.monotonic()
    await_free(root, "s", look_s=0.02)
    assert time.monotonic() - begin < 5, "it was renewed"
    lease.unlink()
    await_free(root, "s")
    await_free(tmp_path, "s")


def test_of_two_machines_that_make_one_name_at_once_the_later_one_changes_nothing(machine, uri):
    root = machine("late")
    folder = make_folder(root, "s")  # it has looked, and the name was free
    create(machine("driver")).release()
    before = there(uri)
    late = Record(folder)
    with pytest.raises(Refused, match="was made a moment ago"):
        late._lock.acquire("stsweep run", is_new=True)
    assert there(uri) == before


def test_a_trial_is_judged_by_what_its_worker_wrote_and_keeps_no_checkpoint(machine, uri):
    record = create(machine("driver"))
    attempt = begin(record, 0)
    machine("node")
    train(record, 0, attempt, 3, checkpoint__state=BIG, encoder__model=BIG[::-1])
    assert RowLog(record.trial_folder(0)).read() == (), "on another node"
    record.share.take_back(0)
    assert len(RowLog(record.trial_folder(0)).read()) == 3
    record.end_trial(0, "completed")
    assert len(there(uri, "object")) == 1, "the encoder"
    reader = Record.open(machine("elsewhere"), "s")
    assert not reader.trial(0).folder.joinpath("encoder").exists()
    reader.share.fetch_encoder(0)
    assert (reader.trial(0).folder / "encoder" / "model").read_bytes() == BIG[::-1]
    record.drop_encoder(0)
    assert there(uri, "object") == []
    record.release()


def test_a_worker_that_was_cut_off_writes_on_for_nobody(machine):
    record = create(machine("driver"))
    attempt = begin(record, 0)
    machine("lost")
    with at_worker(record, 0, attempt) as lost:
        write(lost, 1, checkpoint__state=BIG)
        lost.publish()
        record.share.take_back(0)
        again = hand_out(record, 0)
        machine("node")
        with at_worker(record, 0, again) as at:
            assert (at.folder / "checkpoint" / "state").read_bytes() == BIG, "it goes on from the last checkpoint"
            write(at, 2)
            at.publish()
            write(lost, 3, checkpoint__state=BIG[::-1])
            with pytest.raises(Fenced):
                lost.publish()
            assert len(RowLog(at.folder).read()) == 2
    record.share.take_back(0)
    assert len(RowLog(record.trial_folder(0)).read()) == 2
    record.release()


def test_rows_of_a_running_trial_reach_the_driver_by_themselves(machine):
    record = create(machine("driver"))
    attempt = begin(record, 0)
    train(record, 0, attempt, 1)
    record.share.note(0)
    deadline = time.monotonic() + 5
    while not RowLog(record.trial_folder(0)).read():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    record.release()


def test_workers_hear_that_the_sweep_pauses_and_those_of_the_next_driver_do_not(machine, monkeypatch):
    monkeypatch.setattr(worker, "_LOOK_S", 0.02)
    record = create(machine("driver"))
    attempt = begin(record, 0)

    def pauses(record: Record, attempt: int, wait_s: float) -> bool:
        with at_worker(record, 0, attempt) as at:
            deadline = time.monotonic() + wait_s
            while not at.pause.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            return at.pause.exists()

    record.pause_trials("interrupted")
    assert pauses(record, attempt, 5)
    record.release()
    record = Record.open(machine("elsewhere"), "s")
    record.drive("stsweep resume s")
    assert not pauses(record, hand_out(record, 0), 0.2)
    record.release()


KILLED = """
import os, sys
from pathlib import Path
from sweep.files import write_json
from sweep.holder import Holder
from sweep.record import Record
from sweep.object_store.root import root_folder
from tests.unit.sweep.specs import ABOUT
record = Record.create(root_folder(sys.argv[1]), "s", "name: s\\n", ABOUT)
record.add_trial(0, {}, {})
write_json(record.trial_folder(0) / "end.json", {"state": "errored", "reason": "r", "time": 1.0})
(record.trial_folder(1)).mkdir()
write_json(record.trial_folder(1) / "trial.json", {"number": 1, "point": {}, "config": {}})
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_driver_had_not_sent_has_not_been(machine, uri, tmp_path):
    """It had not acted on it either: it writes here, sends, and then acts."""
    root = machine("driver")
    subprocess.run([sys.executable, "-c", KILLED, uri], cwd=HOME, check=False)
    assert (root / "s" / "trials" / "0001").exists()
    record = Record.open(root, "s")
    assert [(trial.number, trial.state) for trial in record.trials()] == [(0, "interrupted")]
    record.drive("stsweep resume s")
    assert [trial.number for trial in record.trials()] == [0]
    record.release()


def test_no_reader_of_the_same_machine_replaces_what_a_driver_writes(machine, uri, monkeypatch):
    """A reader that has seen no driver, and what there is, is still reading when one begins."""
    root = machine("driver")
    create(root).release()
    record, is_reading, go = Record.open(root, "s"), threading.Event(), threading.Event()

    class Slow(SweepCopy):
        def pull(self) -> None:
            is_reading.set()
            go.wait(10)
            super().pull()

    monkeypatch.setattr("sweep.object_store.root.SweepCopy", Slow)

    def drive() -> None:
        record.drive("stsweep resume s")
        record.add_trial(0, {}, {})

    reader, driver = threading.Thread(target=refresh_all, args=(root,)), threading.Thread(target=drive)
    reader.start()
    is_reading.wait(10)
    driver.start()
    driver.join(0.3)
    go.set()
    for thread in (reader, driver):
        thread.join(10)
    assert record.trial_folder(0).exists()
    assert len(record.sessions()) == record.share.place.session == 2
    record.release()


def test_two_drivers_have_two_numbers_though_the_first_wrote_nothing_but_its_claim(machine, uri, tmp_path):
    create(machine("driver")).release()
    (tmp_path / "there" / "s" / "driver" / "claim-000000000002").touch()  # suspended, and its lease has expired
    record = Record.open(machine("elsewhere"), "s")
    record.drive("stsweep resume s")
    assert (len(record.sessions()), record.share.place.session) == (2, 3)
    record.release()


def test_a_driver_whose_lease_expires_while_it_claims_its_number_does_not_begin(machine, uri, monkeypatch):
    root = machine("driver")
    create(root).release()
    record = Record.open(root, "s")

    def late(folder: SharedFolder, writer: int) -> None:
        record.share._lease._renewed -= 50

    monkeypatch.setattr(SharedFolder, "claim", late)
    with pytest.raises(StorageFault, match="not held"):
        record.drive("stsweep resume s")
    assert not record.is_driven()
    assert there(uri, "/lease/") == []


def test_a_driver_that_has_lost_its_lease_is_told_and_writes_no_more(machine, uri):
    record = create(machine("driver"))
    begin(record, 0)
    heard: list[str] = []
    record.share.watch(heard.append)
    record.share._lease._renewed -= 50  # as if it had been suspended: seconds of the clock that goes on in sleep
    before = there(uri)
    record.change(slots=8)
    record.end_trial(0, "completed")
    with pytest.raises(StorageFault, match="not held"):
        record.add_trial(1, {}, {})
    assert there(uri) == before
    record.share._lose("the lease on the sweep was lost")
    assert heard == ["the lease on the sweep was lost"]
    record.release()
    assert Record.open(machine("elsewhere"), "s").trial(0).state == "interrupted"


def test_a_new_sweep_in_which_nothing_began_leaves_nothing_behind(machine, uri):
    for is_released in (False, True):
        record = create(machine("driver"))
        if is_released:
            record.release()
        record.discard()
        assert there(uri) == []
        assert not record.folder.exists()


def test_a_sweep_that_was_removed_there_is_gone_here(machine, uri, tmp_path):
    create(root := machine("driver")).release()
    shutil.rmtree(tmp_path / "there" / "s")
    refresh_all(root)
    assert not (root / "s").exists()
    with pytest.raises(Refused, match="no sweep 's' in file://"):
        Record.open(root, "s")


@pytest.mark.parametrize(("tracking", "travels"), [("null", False), ("http://127.0.0.1:5000", True)])
def test_what_mlflow_has_travels_only_with_a_server_that_is_elsewhere_too(tracking, travels, machine):
    record = create(machine("driver"), f"name: s\ntracking_uri: {tracking}\n")
    write_json(record.folder / "mlflow.json", {"trials": {}})
    record.change(slots=1)
    record.release()
    elsewhere = Record.open(machine("elsewhere"), "s")
    assert (elsewhere.folder / "mlflow.json").exists() == travels
    assert (record.folder / "mlflow.json").exists()


def test_a_node_keeps_no_folder_of_an_attempt_whose_process_is_dead(machine, tmp_path):
    record = create(machine("driver"))
    attempt = begin(record, 0)
    machine("node")
    train(record, 0, attempt, 1)
    (home,) = (tmp_path / "node" / "trials").glob("*/s")
    assert list(home.iterdir()) == []
    (home / "0007-3").mkdir()
    (home / "0007-3" / "weights").write_bytes(BIG)
    (home / "0007-3.lock").touch()  # its lock went with its process
    train(record, 0, attempt, 2)
    assert list(home.iterdir()) == []
    record.release()


def test_a_damaged_checkpoint_costs_the_training_and_not_the_trial(machine, uri, tmp_path):
    record = create(machine("driver"))
    attempt = begin(record, 0)
    train(record, 0, attempt, 1, checkpoint__state=BIG)
    (name,) = there(uri, "object")
    (tmp_path / "there" / name).write_bytes(BIG[:-1])
    with at_worker(record, 0, hand_out(record, 0)) as at:
        assert len(RowLog(at.folder).read()) == 1
        assert not (at.folder / "checkpoint").exists()
        assert "checkpoint/state has 262143 bytes" in (at.folder / "note.txt").read_text()
    record.release()


def test_a_trial_in_a_plain_folder_is_where_it_was(tmp_path):
    job = Job(rungs=RUNGS, task="demo", split="dev", metric="spearman", data_dir=None, threads=1)
    with open_trial(TrialHome(tmp_path / "0007", 1)) as at:
        assert at.folder == tmp_path / "0007"
        assert at.job(job) is job
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_is_plain_json_of_texts(machine, uri, tmp_path):
    create(machine("driver")).release()
    (name,) = there(uri, "driver/manifest")
    files = json.loads((tmp_path / "there" / name).read_text())["files"]
    assert files["spec.yaml"] == {"text": "name: s\n"}
    assert [json.loads(line).keys() for line in files["sessions.jsonl"]["text"].splitlines()][1] == {"pid", "ended"}


class Several:
    """Ranks that are threads of this process."""

    are_several = True

    def __init__(self, rank: int, barrier: threading.Barrier) -> None:
        self.is_first, self._barrier = rank == 0, barrier

    def agree(self, question) -> bool:
        self._barrier.wait(10)
        return True


def test_all_ranks_go_on_from_the_same_checkpoint_and_the_first_alone_writes(machine):
    record = create(machine("driver"))
    lost = begin(record, 0)
    train(record, 0, lost, 1, checkpoint__state=BIG)
    attempt, barrier, found = hand_out(record, 0), threading.Barrier(3), {}

    def rank(number: int) -> None:
        with at_worker(record, 0, attempt, ranks=Several(number, barrier)) as at:
            found[number] = (at.folder, (at.folder / "checkpoint" / "state").read_bytes())
            barrier.wait(10)
            if number == 1:
                write(at, 3)
                at.publish()
            barrier.wait(10)

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({folder for folder, _ in found.values()}) == 3, "they may be on three nodes"
    assert {content for _, content in found.values()} == {BIG}
    with at_worker(record, 0, attempt, role="judges") as at:
        (at.folder / "error.txt").write_text("no memory")
        at.publish()
    record.share.take_back(0)
    folder = record.trial_folder(0)
    assert ((folder / "error.txt").read_text(), len(RowLog(folder).read())) == ("no memory", 1)
    record.release()
