"""What a sweep has used and why it closes."""

from __future__ import annotations

import pytest

from sweep.ledger import Ledger, driven_seconds, ledger_of
from tests.unit.sweep.specs import SMALL, load, new_record, row, write_trial


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ledger(tmp_path, *changes: str, clock: Clock | None = None) -> Ledger:
    return Ledger(load(tmp_path, SMALL, *changes), clock=clock or Clock())


def test_without_limits_it_never_closes(tmp_path):
    ours = ledger(tmp_path)
    ours.add_busy(0, 1e9)
    ours.add_end(0, "completed", 100.0)
    assert ours.reason_to_close() is None
    assert ours.left_text() is None


def test_worker_hours_add_up_over_trials_each_counted_at_its_last_report(tmp_path):
    ours = ledger(tmp_path, "stop.worker_hours=1", "resources.cost_per_hour=2.5")
    for seconds in (600, 1200, 1800):
        ours.add_busy(0, seconds)
    ours.add_busy(1, 1799)
    assert ours.used().worker_hours == pytest.approx(3599 / 3600)
    assert ours.used().cost == pytest.approx(2.5 * 3599 / 3600)
    assert ours.reason_to_close() is None
    ours.add_busy(0, 1200)  # continued from an older checkpoint: less than before
    ours.add_busy(1, 1800)
    assert "worker_hours" in str(ours.reason_to_close())


def test_what_runs_has_used_its_time_since_its_last_report(tmp_path):
    clock = Clock()
    ours = ledger(tmp_path, "stop.worker_hours=3", clock=clock)
    for number in range(4):
        ours.add_start(number)
    clock.now += 1800
    ours.add_busy(0, 1700)  # a hundred seconds of it waited for Tune
    ours.add_pause(1)  # its worker died
    clock.now += 1800
    ours.add_start(0)  # told again and again
    assert ours.used().worker_hours == pytest.approx((1700 + 1800 + 2 * 3600) / 3600)
    assert ours.reason_to_close() is None
    clock.now += 100
    assert "worker_hours" in str(ours.reason_to_close())


def test_the_hours_of_every_worker_of_a_trial_count(tmp_path):
    clock = Clock()
    ours = ledger(tmp_path, "stop.worker_hours=3", "resources.cost_per_hour=2", clock=clock)
    ours.add_start(0, 4)
    ours.add_start(1)
    clock.now += 900
    assert ours.used().worker_hours == pytest.approx((4 * 900 + 900) / 3600), "while they run"
    ours.add_busy(0, 800, 4)
    ours.add_pause(1)
    clock.now += 900
    assert ours.used().worker_hours == pytest.approx(4 * (800 + 900) / 3600), "since the last report"
    ours.add_busy(0, 1700, 4)
    ours.add_pause(0)
    clock.now += 900
    assert ours.used().cost == pytest.approx(2 * 4 * 1700 / 3600), "when it has ended"


def test_a_trial_of_several_workers_is_counted_so_again_from_its_record(tmp_path):
    case = "resources: {cases: [{when: {loss.temperature: {low: 0.4}}, workers: 3}]}\n"
    spec = load(tmp_path, SMALL + "search: {loss.temperature: {low: 0.1, high: 1.0}}\n" + case)
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0)], "stopped")  # 10 s at temperature 0.25
    write_trial(record, 1, [row(0), row(1)], "stopped")  # 20 s at 0.5: three workers
    assert ledger_of(spec, record).used().worker_hours == pytest.approx((10 + 3 * 20) / 3600)
    record.release()


def test_a_clock_that_was_set_back_gives_no_hours_back(tmp_path):
    record = new_record(tmp_path)
    record.release()
    path = record.folder / "sessions.jsonl"
    path.write_text('{"pid": 1, "started": 5000.0}\n{"pid": 1, "ended": 1500.0}\n{"pid": 2, "started": 1600.0}\n')
    assert driven_seconds(record) == 0.0


def test_wall_hours_go_by_on_the_clock_and_count_earlier_drivers(tmp_path):
    clock = Clock()
    spec = load(tmp_path, SMALL, "stop.wall_hours=2")
    ours = Ledger(spec, wall_seconds=3600, clock=clock)
    clock.now += 3599
    assert ours.reason_to_close() is None
    assert "of 2 wall hours" in str(ours.left_text())
    clock.now += 1
    assert "wall_hours" in str(ours.reason_to_close())


def test_a_trial_that_failed_before_its_first_row_has_used_its_time(tmp_path):
    record = new_record(tmp_path)
    folder = record.add_trial(0, {}, {})
    (folder / "busy.json").write_text('{"seconds": 7200}')
    record.end_trial(0, "errored", "boom")
    spec = load(tmp_path, SMALL, "stop.worker_hours=2")
    assert "worker_hours" in str(ledger_of(spec, record).reason_to_close())


def test_cost_closes_at_its_limit(tmp_path):
    ours = ledger(tmp_path, "stop.cost=10", "resources.cost_per_hour=5")
    ours.add_busy(0, 2 * 3600 - 1)
    assert ours.reason_to_close() is None
    ours.add_busy(0, 2 * 3600)
    assert "cost" in str(ours.reason_to_close())


def test_a_target_is_reached_by_a_completed_trial_alone(tmp_path):
    ours = ledger(tmp_path, "stop.target=80")
    ours.add_end(0, "stopped", 90.0)
    ours.add_end(1, "completed", 79.9)
    assert ours.reason_to_close() is None
    ours.add_end(2, "completed", 80.0)
    assert "80" in str(ours.reason_to_close())


def test_a_plateau_is_so_many_trials_without_a_gain_after_the_first_score(tmp_path):
    ours = ledger(tmp_path, "stop.plateau_trials=3", "stop.plateau_gain=0.5")
    for number in range(5):  # nothing to gain on yet
        ours.add_end(number, "stopped", 10.0)
    ours.add_end(5, "completed", 70.0)
    ours.add_end(6, "completed", 70.4)  # no gain above 0.5
    ours.add_end(7, "completed", 71.0)  # a gain on 70.4
    ours.add_end(8, "stopped", 99.0)
    ours.add_end(9, "diverged", -100.0)
    for number in range(20, 25):  # a fault says nothing of the space
        ours.add_end(number, "errored", None)
    assert ours.reason_to_close() is None
    ours.add_end(10, "completed", 71.2)
    assert "plateau" in str(ours.reason_to_close())


def test_it_is_rebuilt_from_a_record(tmp_path):
    record = new_record(tmp_path)
    write_trial(record, 0, [row(0), row(1), row(2, 70.0)], "completed")
    write_trial(record, 1, [row(0)], "stopped")
    write_trial(record, 2, [row(0), row(1)])
    spec = load(tmp_path, SMALL, "stop.worker_hours=1", "stop.target=70")
    ours = ledger_of(spec, record)
    assert ours.used().worker_hours == pytest.approx((30 + 10 + 20) / 3600)
    assert "70" in str(ours.reason_to_close())
