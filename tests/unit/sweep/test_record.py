"""The record on disk: made once, driven by one process, readable at every moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from sweep.errors import Refused
from sweep.ledger import closed_seconds
from sweep.record import Record, write_whole
from sweep.trial_record import FLOOR, RowLog, best_trial, busy_share
from tests.unit.sweep.specs import ABOUT, new_record, row, write_trial

HOME = Path(__file__).parents[3]

DRIVER = """
import sys
from pathlib import Path
from sweep.record import Record
about = {"objective": "o", "rungs": [], "searched": [], "trials": 1}
record = Record.create(Path(sys.argv[1]), "s", "name: s\\n", about)
record.add_trial(0, {}, {})
print("driving", flush=True)
sys.stdin.read()
"""


@contextmanager
def driver(root: Path) -> Iterator[subprocess.Popen]:
    """Another process that drives sweep `s` until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root)], cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "driving\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_is_read_back_by_another_reader(tmp_path):
    record = new_record(tmp_path)
    rows = (row(0, 40.25), row(1, FLOOR, failure="diverged", loss=None))
    write_trial(record, 0, rows, "diverged", "the loss is inf")
    record.write_baselines({"untrained": 12.5, "teacher": None})
    record.change(slots=3)
    read = Record.open(tmp_path, "s")
    (trial,) = read.trials()
    assert (trial.number, trial.state, trial.reason, trial.rows) == (0, "diverged", "the loss is inf", rows)
    assert (trial.point, trial.config) == ({"loss.temperature": 0.25}, {"loss.temperature": 0.25, "seed": 0})
    assert read.baselines() == {"untrained": 12.5, "teacher": None}
    assert read.about.items() >= (ABOUT | {"slots": 3}).items()
    assert (read.folder / "spec.yaml").read_text() == "name: s\n"


def test_a_taken_name_is_refused_and_nothing_there_changes(tmp_path):
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0)])
    before = contents(record.folder)
    with pytest.raises(Refused, match="exists already"):
        Record.create(tmp_path, "s", "name: other\n", {})
    assert contents(record.folder) == before
    assert record.is_driven()


def test_a_sweep_is_driven_as_long_as_its_process_lives_and_interrupted_after_it(tmp_path):
    with driver(tmp_path) as process:
        record = Record.open(tmp_path, "s")
        assert record.is_driven()
        assert [trial.state for trial in record.trials()] == ["running"]
        with pytest.raises(Refused, match="exists already"):
            Record.create(tmp_path, "s", "", {})
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not record.is_driven()
        assert [trial.state for trial in record.trials()] == ["interrupted"]


def test_looking_whether_a_sweep_is_driven_does_not_take_it_from_its_driver(tmp_path):
    record = new_record(tmp_path)
    reader = Record.open(tmp_path, "s")
    assert [reader.is_driven() for _ in range(3)] == [True, True, True]
    record.release()
    assert [reader.is_driven() for _ in range(3)] == [False, False, False]


def test_a_trial_that_ended_keeps_its_state_when_the_driver_is_gone(tmp_path):
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0)], "stopped")
    write_trial(record, 1, [row(0)])
    assert [trial.state for trial in record.trials()] == ["stopped", "running"]
    record.release()
    assert [trial.state for trial in record.trials()] == ["stopped", "interrupted"]


def test_trials_come_by_number_and_a_folder_without_its_configuration_is_none_yet(tmp_path):
    record = new_record(tmp_path)
    for number in (10, 2, 1):
        write_trial(record, number, [])
    (record.folder / "trials" / "0003").mkdir()
    assert [trial.number for trial in record.trials()] == [1, 2, 10]


def test_the_ten_thousand_and_first_trial_comes_last(tmp_path):
    record = new_record(tmp_path)
    for number in (9999, 10000, 1):
        record.add_trial(number, {}, {})
    assert [trial.number for trial in record.trials()] == [1, 9999, 10000]


@pytest.mark.skipif(os.geteuid() != 0, reason="to read as another user one must be root")
def test_another_user_may_read_a_sweep_that_is_not_theirs():
    with tempfile.TemporaryDirectory() as root:  # all folders above may be read
        record = new_record(Path(root))
        for folder in (record.folder, record.folder.parent):
            folder.chmod(0o755)
        for held in (True, False):
            child = os.fork()
            if not child:
                try:
                    os.setuid(65534)
                    os._exit(10 + Record(record.folder).is_driven())
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10 + held
            record.release()


def test_a_torn_last_line_is_ignored(tmp_path):
    log = RowLog(tmp_path)
    assert log.read() == ()
    log.append(row(0))
    log.append(row(1))
    whole = log.path.read_bytes()
    for end in range(whole.index(b"\n") + 1, len(whole)):
        log.path.write_bytes(whole[:end])
        assert log.read() == (row(0),)


@pytest.mark.parametrize("torn", ["", "{", '{"rung_index": 1, "rung": 12'])
def test_rows_after_a_torn_line_are_whole(tmp_path, torn):
    log = RowLog(tmp_path)
    log.append(row(0))
    with log.path.open("a") as file:
        file.write(torn)
    log.append(row(1))
    log.append(row(2))
    assert log.read() == (row(0), row(1), row(2))


def test_a_first_line_that_was_torn_leaves_no_trace(tmp_path):
    log = RowLog(tmp_path)
    log.path.write_text('{"rung_index": 0')
    log.append(row(0))
    assert log.read() == (row(0),)


def test_nan_does_not_get_into_the_record(tmp_path):
    record = new_record(tmp_path)
    folder = write_trial(record, 0, [row(0)])
    with pytest.raises(ValueError, match="Out of range float"):
        RowLog(folder).append(row(1, score=float("nan")))
    with pytest.raises(ValueError, match="Out of range float"):
        record.write_baselines({"untrained": float("nan")})
    assert RowLog(folder).read() == (row(0),)
    assert record.baselines() == {}


def test_a_file_that_is_rewritten_has_the_new_text_and_leaves_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "file", "first\n")
    write_whole(tmp_path / "file", "second: τ\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "second: τ\n"


def test_a_discarded_record_frees_its_name(tmp_path):
    new_record(tmp_path).discard()
    assert not (tmp_path / "s").exists()
    new_record(tmp_path)


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path):
    new_record(tmp_path, "quickstart")
    with pytest.raises(Refused, match="did you mean quickstart"):
        Record.open(tmp_path, "quikstart")


def test_a_record_of_a_newer_program_is_refused(tmp_path):
    new_record(tmp_path, format=9)
    with pytest.raises(Refused, match="format 9"):
        Record.open(tmp_path, "s")


def test_time_in_which_nobody_drove_a_sweep_is_not_time_in_which_it_was_idle(tmp_path):
    """Driven for 20 s, closed for 1,000 s, driven for 30 s; busy 40 s of the 50."""
    record = new_record(tmp_path)
    record.release()
    log = record.folder / "sessions.jsonl"
    times = [{"started": 100.0}, {"ended": 120.0}, {"started": 1120.0}, {"ended": 1150.0}]
    log.write_text("".join(json.dumps({"pid": 1} | each) + "\n" for each in times))
    write_trial(record, 0, [row(2, 50.0, started=100.0, time=1150.0, busy_seconds=40.0)], "completed")
    assert closed_seconds(record) == 1000
    assert busy_share(record.trials(), 1, closed_seconds(record)) == pytest.approx(40 / 50)


def test_the_best_trial_is_the_highest_of_the_completed(tmp_path):
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0, 99.0)], "stopped")
    write_trial(record, 1, [row(0, 90.0), row(1, 20.0), row(2, 30.0)], "completed")
    write_trial(record, 2, [row(2, 40.0)], "completed")
    write_trial(record, 3, [row(2, 80.0)], "errored")
    write_trial(record, 4, [row(0, 85.0)])
    write_trial(record, 5, [], "errored")
    best = best_trial(record.trials())
    assert best is not None
    assert best.number == 2


@pytest.mark.parametrize("scores", [(0.0, -5.0), (-5.0, 0.0), (-99.0, 0.0)])
def test_a_score_of_nought_is_a_score(tmp_path, scores):
    record = new_record(tmp_path)
    for number, score in enumerate(scores):
        write_trial(record, number, [row(2, score)], "completed")
    best = best_trial(record.trials())
    assert best is not None
    assert best.score == 0.0


def test_without_a_completed_trial_there_is_no_best(tmp_path):
    record = new_record(tmp_path)
    assert best_trial(record.trials()) is None
    write_trial(record, 0, [row(0)], "stopped")
    write_trial(record, 1, [row(2, FLOOR, failure="collapsed")], "collapsed")
    assert best_trial(record.trials()) is None


def test_the_busy_share_is_busy_time_over_slots_times_the_whole_time(tmp_path):
    record = new_record(tmp_path)
    assert busy_share(record.trials(), slots=2) is None
    write_trial(record, 0, [row(0, started=100.0, time=105.0, busy_seconds=4.0)])
    assert busy_share(record.trials(), slots=1) == pytest.approx(4 / 5)
    write_trial(record, 1, [row(0, started=106.0, time=110.0, busy_seconds=3.0)])
    RowLog(record.trial_folder(1)).append(row(1, started=106.0, time=120.0, busy_seconds=12.0))
    write_trial(record, 2, [], "errored")
    # 4 + 12 busy seconds of 2 × (120 − 100); a later row's time holds that of the earlier ones
    assert busy_share(record.trials(), slots=2) == pytest.approx(16 / 40)


def test_a_row_is_one_line_of_plain_json(tmp_path):
    import json

    RowLog(tmp_path).append(row(1, 12.5))
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert json.loads(line) == asdict(row(1, 12.5))


def test_what_else_lies_among_the_trials_is_left_alone_and_hides_none(tmp_path):
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0)], "stopped")
    (record.folder / "trials" / ".DS_Store").write_text("a file manager's")
    (record.folder / "trials" / "notes").mkdir()
    record.release()
    Record.open(tmp_path, "s").drive("stsweep resume s")
    assert [trial.number for trial in Record.open(tmp_path, "s").trials()] == [0]
    assert (record.folder / "trials" / "notes").exists()


def test_a_record_whose_trials_are_not_all_there_is_not_driven(tmp_path):
    """Optuna numbers trials by counting them: a later one would get a number that is taken."""
    record = new_record(tmp_path)
    for number in range(3):
        write_trial(record, number, [row(0)], "stopped")
    shutil.rmtree(record.trial_folder(1))
    record.release()
    again = Record.open(tmp_path, "s")
    with pytest.raises(Refused, match="trials are missing: 0001"):
        again.drive("stsweep resume s")
    assert not again.is_driven()


def test_a_new_sweep_may_be_driven_on_whatever_rights_new_folders_get(tmp_path):
    before = os.umask(0)
    try:
        record = new_record(tmp_path)
    finally:
        os.umask(before)
    record.check_drivable()
