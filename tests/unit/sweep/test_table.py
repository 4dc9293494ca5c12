"""What is shown while a sweep runs: plain lines, each once, or a table that a terminal redraws."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from sweep.table import Follower, LiveTable, PlainLines, by_score, knob_text, make_view, trial_table
from sweep.trial_record import FLOOR, RowLog
from tests.unit.sweep.specs import new_record, row, write_trial

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TextIO, list[bytes]]]:
    """A pseudo-terminal's writing end, and what was written to it (whole after the `with`)."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main, end = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                seen.append(os.read(main, 4096))
            except OSError:  # EIO: the last writer has closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with os.fdopen(end, "w") as stream:
            yield stream, seen
    finally:
        reader.join()
        os.close(main)


def test_each_row_and_each_end_is_one_line_however_often_it_is_shown(tmp_path):
    record, stream = new_record(tmp_path), io.StringIO()
    view = PlainLines(3, lambda: None, stream)
    view.show(record.trials())
    folder = write_trial(record, 0, [row(0, 41.256)])
    write_trial(record, 1, [])
    for _ in range(3):
        view.show(record.trials())
    RowLog(folder).append(row(1, 43.5))
    RowLog(folder).append(row(2, 45.0))
    view.show(record.trials())
    record.end_trial(0, "completed")
    record.end_trial(1, "errored", "boom")
    for _ in range(3):
        view.show(record.trials())
    view.close()
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines == [
        "trial 0000 rung 1/3 64 sentences score 41.26 busy 10.0 s",
        "trial 0000 rung 2/3 128 sentences score 43.50 busy 20.0 s",
        "trial 0000 rung 3/3 256 sentences score 45.00 busy 30.0 s",
        "trial 0000 completed",
        "trial 0001 errored",
    ]


def test_plain_lines_say_no_end_of_a_trial_that_was_interrupted(tmp_path):
    record, stream = new_record(tmp_path), io.StringIO()
    write_trial(record, 0, [row(0)])
    record.release()
    PlainLines(3, lambda: None, stream).show(record.trials())
    assert len(stream.getvalue().splitlines()) == 1


def test_what_is_no_terminal_gets_plain_lines(tmp_path, monkeypatch):
    assert isinstance(make_view(3, (), lambda: None, io.StringIO()), PlainLines)
    with terminal(monkeypatch) as (stream, _):
        view = make_view(3, (), lambda: None, stream)
        view.close()
        assert isinstance(view, LiveTable)


def test_on_a_terminal_the_table_is_redrawn_in_place_and_the_cursor_is_there_again_at_the_end(tmp_path, monkeypatch):
    record = new_record(tmp_path)
    folder = write_trial(record, 0, [row(0, 41.25)])
    with terminal(monkeypatch) as (stream, seen):
        follower = Follower(record, make_view(3, ("loss.temperature",), lambda: None, stream), interval_s=0.01)
        follower.start()
        deadline = time.monotonic() + 20
        while b"41.25" not in b"".join(seen):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        RowLog(folder).append(row(1, 47.75))
        record.end_trial(0, "stopped")
        follower.finish()
    drawn = b"".join(seen).decode()
    assert drawn.index("41.25") < drawn.rindex("47.75")
    assert "\x1b[1A" in drawn, "the cursor goes up to draw over the last table"
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")
    last = ESCAPE.sub("", drawn[drawn.rindex("\x1b[1A") :])
    header, line = (line.split() for line in last.splitlines() if line.strip())
    assert header == ["trial", "state", "rung", "sentences", "score", "temperature"]
    assert line == ["0000", "stopped", "2/3", "128", "47.75", "0.25"]


def test_finishing_shows_what_came_after_the_last_look(tmp_path):
    record, stream = new_record(tmp_path), io.StringIO()
    follower = Follower(record, PlainLines(3, lambda: None, stream), interval_s=3600)
    follower.start()
    write_trial(record, 0, [row(2)], "completed")
    follower.finish()
    assert stream.getvalue().splitlines()[-1].endswith("completed")
    assert not follower.is_alive()


def test_the_completed_come_first_best_first_then_the_others_by_rung_and_score(tmp_path):
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0, 99.0)], "stopped")
    write_trial(record, 1, [row(0), row(1), row(2, 30.0)], "completed")
    write_trial(record, 2, [])
    write_trial(record, 3, [row(0), row(1), row(2, 60.0)], "completed")
    write_trial(record, 4, [row(0), row(1, 20.0)], "stopped")
    write_trial(record, 5, [row(0), row(1, 25.0)])
    write_trial(record, 6, [row(0, FLOOR, failure="diverged")], "diverged")
    assert [trial.number for trial in by_score(record.trials())] == [3, 1, 5, 4, 0, 6, 2]


@pytest.mark.parametrize(
    ("value", "text"), [(0.000312345, "0.000312"), (64, "64"), ("0,5", "0,5"), (None, "None"), (1e-5, "1e-05")]
)
def test_a_knob_is_short(value, text):
    assert knob_text(value) == text


def test_what_an_earlier_driver_showed_is_not_printed_again(tmp_path):
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0), row(1), row(2)], "completed")
    write_trial(record, 1, [row(0)])
    stream = io.StringIO()
    view = PlainLines(3, lambda: "left: 1 of 2 wall hours", stream)
    view.skip(record.trials())
    view.show(record.trials())
    assert stream.getvalue() == ""
    RowLog(record.trial_folder(1)).append(row(1))
    record.end_trial(1, "stopped")
    view.show(record.trials())
    rows, end = stream.getvalue().splitlines()
    assert rows.startswith("trial 0001  rung 2/3")
    assert end == "trial 0001  stopped  (left: 1 of 2 wall hours)"


def cells(table) -> list[list[str]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_a_table_of_so_many_rows_has_the_best_and_says_how_many_more_there_are(tmp_path):
    record = new_record(tmp_path)
    for number in range(5):
        write_trial(record, number, [row(2, 50.0 + number)], "completed")
    shown = cells(trial_table(record.trials(), 3, (), most=2))
    assert [each[0] for each in shown] == ["0004", "0003", ""]
    assert shown[2][1] == "… 3 more"
    assert len(cells(trial_table(record.trials(), 3, (), most=5))) == 5


def test_a_knob_that_was_not_asked_is_blank_and_a_second_objective_has_a_column(tmp_path):
    record = new_record(tmp_path)
    folder = record.add_trial(0, {"seed": 3}, {"seed": 3, "loss.temperature": 0.05})
    RowLog(folder).append(row(2, 70.0, size_mb=12.5))
    record.end_trial(0, "completed")
    table = trial_table(record.trials(), 3, ("seed", "loss.temperature"), against="size")
    assert cells(table) == [["0000", "completed", "3/3", "256", "70.00", "12.5", "3", ""]]
