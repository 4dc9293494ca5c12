"""From what one trial takes to what the sweep takes; the figures are worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sweep.errors import Refused
from sweep.forecast import reaching
from sweep.probe import Estimate, check_cost, check_cost_asked, estimate
from sweep.probe_process import Probed
from sweep.spec.sweep_spec import SweepSpec
from tests.unit.sweep.specs import load

GB = 10**9
LARGEST = {"optim.batch_size": 8}
MEASURED = Probed(
    device="cpu",
    threads=1,
    step_seconds=2.0,  # 1,600 sentences in batches of 8: 400 s
    small_batch=8,
    small_step_seconds=2.0,
    rung_seconds=10.0,
    end_seconds=30.0,
    resident_bytes=2 * GB,
    gpu_bytes=None,
    gpu_total_bytes=None,
)
PRICED = "resources.cost_per_hour=3"


def spec_of(folder: Path, *changes: str) -> SweepSpec:
    text = (
        "name: s\nobjective: {task: demo}\ntrials: 16\n"
        "train: {optim: {batch_size: 8}, budget: {sentences: 1600}}\n"
        "search: {loss.temperature: {low: 0.01, high: 0.1}}\n"
        "scheduler: {name: asha, grace: 100, reduction_factor: 4}\n"
    )
    return load(folder, text, *changes)


def estimated(folder: Path, *changes: str, at_once: int | None = 2, measured: Probed = MEASURED) -> Estimate:
    return estimate(spec_of(folder, *changes), at_once, LARGEST, measured, 64 * GB)


def reached(folder: Path, rungs: int) -> list[float]:
    return [count for count in reaching(spec_of(folder), 16, rungs) if count is not None]


def test_worker_hours_are_the_expected_steps_and_evaluations(tmp_path: Path) -> None:
    found = estimated(tmp_path)
    _, second, last = reached(tmp_path, 3)
    # 16 trials to 100 sentences (25 s), those that pass on to 400 (75 s) and to 1,600 (300 s); each is scored there
    training = 16 * 25 + second * 75 + last * 300
    assert 3600 * found.worker_hours == pytest.approx(training + (16 + second) * 10 + last * 30)
    assert 3600 * found.most_worker_hours == pytest.approx(16 * (400 + 2 * 10 + 30))
    assert found.hours == pytest.approx(found.worker_hours / 2)
    assert found.cost is None


def test_no_sweep_is_shorter_than_one_whole_trial(tmp_path: Path) -> None:
    found = estimated(tmp_path, at_once=16)
    assert found.hours is not None
    assert 3600 * found.hours == pytest.approx(400 + 2 * 10 + 30)


def test_where_the_stopped_are_not_known_all_trials_count(tmp_path: Path) -> None:
    found = estimated(tmp_path, "scheduler.name=median")
    assert found.worker_hours == found.most_worker_hours


def test_seconds_of_training_are_the_measured_ones(tmp_path: Path) -> None:
    found = estimated(tmp_path, "scheduler.axis=seconds")
    # Milestones at 100 s and, of 400 s in all, none at 400: 16 trials to 100 s, those that pass on to the end
    _, last = reached(tmp_path, 2)
    assert 3600 * found.worker_hours == pytest.approx(16 * 100 + last * 300 + 16 * 10 + last * 30)


def test_the_batch_whose_sentences_take_longer_counts(tmp_path: Path) -> None:
    for step_seconds, slower in ((0.25, 200.0), (1.0, 800.0)):  # 800 steps of 2 sentences beside 200 of 8, 400 s
        measured = dataclasses.replace(MEASURED, small_batch=2, small_step_seconds=step_seconds)
        found = estimated(tmp_path, measured=measured)
        assert 3600 * found.most_worker_hours == pytest.approx(16 * (max(400, slower) + 2 * 10 + 30))


def test_the_cost_is_that_of_the_worker_hours_and_not_above_what_stop_allows(tmp_path: Path) -> None:
    free = estimated(tmp_path, PRICED)
    assert free.cost == pytest.approx(3 * free.worker_hours)
    assert free.notes == ()
    for limit, hours in (("stop.cost=0.3", 0.1), ("stop.worker_hours=0.2", 0.2), ("stop.wall_hours=0.05", 0.1)):
        found = estimated(tmp_path, PRICED, limit)
        assert (found.worker_hours, found.cost) == pytest.approx((hours, 3 * hours))
        assert found.hours == pytest.approx(hours / 2)
        assert any("`stop` ends the sweep" in note for note in found.notes)


def test_several_workers_take_the_same_worker_hours_in_less_time_and_the_note_says_that_it_is_assumed(
    tmp_path: Path,
) -> None:
    alone, shared = estimated(tmp_path), estimated(tmp_path, "resources.workers=4")
    assert shared.worker_hours == pytest.approx(alone.worker_hours)
    assert alone.hours is not None
    assert shared.hours == pytest.approx(alone.hours / 4)
    (note,) = shared.notes
    assert note == "measured on one worker; 4 are taken to be 4 times as fast"


def test_a_cluster_has_no_wall_hours_here_and_the_note_says_where_was_measured(tmp_path: Path) -> None:
    found = estimated(tmp_path, PRICED, at_once=None)
    assert found.hours is None and found.cost is not None
    assert any("on this machine" in note for note in found.notes)


def test_trials_at_once_that_exceed_the_memory_are_noted_with_how_many_fit(tmp_path: Path) -> None:
    large = dataclasses.replace(MEASURED, resident_bytes=30 * GB)
    assert estimated(tmp_path, at_once=2, measured=large).notes == ()
    (note,) = estimated(tmp_path, at_once=3, measured=large).notes
    assert "90 GB" in note and "64 GB" in note and "enough for 2" in note


def test_trials_that_share_a_gpu_share_its_memory(tmp_path: Path) -> None:
    on_gpu = dataclasses.replace(MEASURED, device="cuda", gpu_bytes=30 * GB, gpu_total_bytes=80 * GB)
    assert estimated(tmp_path, "resources.gpus_per_worker=1", at_once=8, measured=on_gpu).notes == ()
    assert estimated(tmp_path, "resources.gpus_per_worker=0.5", at_once=8, measured=on_gpu).notes == ()
    (note,) = estimated(tmp_path, "resources.gpus_per_worker=0.25", at_once=8, measured=on_gpu).notes
    assert "120 GB" in note and "a GPU has 80 GB" in note and "enough for 2" in note


def test_a_cost_above_the_most_is_refused_and_one_at_it_is_not(tmp_path: Path) -> None:
    found = estimated(tmp_path, PRICED)
    assert found.cost is not None
    check_cost(spec_of(tmp_path), found, None)
    check_cost(spec_of(tmp_path), found, found.cost)
    with pytest.raises(Refused, match=f"{found.cost:.2f} is the estimated cost") as refused:
        check_cost(spec_of(tmp_path), found, found.cost - 0.01)
    assert refused.value.exit_code == 2


def test_the_next_command_is_what_was_typed_with_the_change_that_helps(tmp_path: Path) -> None:
    typed = "stsweep check s.yaml --probe --max-cost 1234567.5 --set stop.cost=9e9"
    found = dataclasses.replace(estimated(tmp_path, PRICED), cost=9e6)
    with pytest.raises(Refused) as refused:
        check_cost(spec_of(tmp_path), found, 1234567.5, typed)
    assert refused.value.next == f"{typed} --set stop.cost=1234567.5"
    for command, spec, cost in ((typed, spec_of(tmp_path, PRICED), 0.0), ("stsweep check s", spec_of(tmp_path), 1.0)):
        with pytest.raises(Refused) as refused:
            check_cost_asked(spec, cost, command, probed=False)
        changes = " --max-cost COST" if cost == 0 else " --set resources.cost_per_hour=PRICE"
        assert refused.value.next == f"{command}{changes} --probe"


@pytest.mark.parametrize("price", [0.3, 0.7, 1.1, 3.0, 49.0])
def test_a_sweep_that_ends_at_the_most_cost_is_not_above_it(tmp_path: Path, price: float) -> None:
    for cost in (0.1, 0.29, 0.37, 0.57):
        found = estimated(tmp_path, f"resources.cost_per_hour={price}", f"stop.cost={cost}", "trials=2000")
        assert found.cost == found.most_cost == pytest.approx(cost)
        check_cost(spec_of(tmp_path), found, cost)


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_a_most_cost_that_is_no_sum_is_refused(tmp_path: Path, cost: float) -> None:
    with pytest.raises(Refused, match="give a number above 0"):
        check_cost_asked(spec_of(tmp_path, PRICED), cost, probed=True)


def test_all_that_a_most_cost_lacks_is_said_at_once(tmp_path: Path) -> None:
    check_cost_asked(spec_of(tmp_path), None, probed=False)
    check_cost_asked(spec_of(tmp_path, PRICED), 1.0, probed=True)
    with pytest.raises(Refused) as refused:
        check_cost_asked(spec_of(tmp_path), -1.0, probed=False)
    said = [(problem.key, problem.message) for problem in refused.value.problems]
    assert [key for key, _ in said] == ["--max-cost", "resources.cost_per_hour", "--max-cost"]
    assert "--probe" in said[-1][1]


def test_no_cost_is_judged_by_what_another_machine_or_device_measured(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        check_cost_asked(spec_of(tmp_path, PRICED), 1e9, "stsweep check s", probed=True, address="head:6379")
    assert "the cluster head:6379" in str(refused.value) and "leave --max-cost out" in str(refused.value)
    asks_gpu = spec_of(tmp_path, PRICED, "resources.gpus_per_worker=0.5")
    found = estimated(tmp_path, PRICED, "resources.gpus_per_worker=0.5")
    assert any("measured on the CPU" in note for note in found.notes)
    check_cost(asks_gpu, found, None)
    with pytest.raises(Refused, match="measured on the CPU"):
        check_cost(asks_gpu, found, 1e9)
    check_cost(asks_gpu, dataclasses.replace(found, measured=dataclasses.replace(MEASURED, device="cuda")), 1e9)
