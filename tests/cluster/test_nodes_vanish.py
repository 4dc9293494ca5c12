"""Nodes that lose power or their network while they train, in one sweep over three hosts."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sweep.deaths import deaths_of
from sweep.record import Record
from tests.cluster.hosts import Cluster, Host, command_line, cpu_seconds, folder_of, signal_all, why_not

pytestmark = [pytest.mark.skipif(why_not() is not None, reason=str(why_not())), pytest.mark.timeout(600)]

SPEC = """
name: {name}
train:
  encoder: {{name: {workshop}/encoder, keep_layers: [0, 5]}}
  data: {{corpus: [{workshop}/corpus.txt]}}
  optim: {{batch_size: 16}}
  budget: {{sentences: {sentences}}}
  precision: fp32
search:
  optim.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}
sampler: {{name: random}}
scheduler: {{name: none, grace: {grace}, reduction_factor: 2}}   # nothing is stopped, so no order of ends decides
objective: {{task: demo, split: dev}}
trials: {trials}
checkpoint_seconds: 0.5
"""

DETECTION = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node that does not answer is given up after 9 s in place of Ray's 65 (3, 10 and 5); what follows is the same."""


@pytest.fixture(scope="module")
def hosts(environment: dict[str, str]) -> Iterator[Cluster]:
    """A head and two workers, one CPU each."""
    cluster = Cluster(environment, 2, **DETECTION)
    yield cluster
    cluster.network.remove()


class Sweep:
    """A sweep driven on the head of `hosts`."""

    def __init__(self, hosts: Cluster, workshop: Path, name: str, *, trials: int, sentences: int, grace: int) -> None:
        self.name, self._root = name, workshop / "sweeps"
        spec = workshop / f"{name}.yaml"
        text = SPEC.format(name=name, workshop=workshop, trials=trials, sentences=sentences, grace=grace)
        spec.write_text(text, encoding="utf-8")
        self.log = workshop / f"{name}.log"
        command = ("python", "-m", "sweep", "run", str(spec), "--root", str(self._root), "--address", hosts.address)
        self.driver = hosts.head.popen(*command, cwd=workshop, log=self.log)

    @property
    def record(self) -> Record:
        return Record.open(self._root, self.name)

    def trained_on(self, host: Host) -> tuple[int, int] | None:
        """Pid and number of the first trial of a host's worker, if it trains it now: its working directory is that."""
        for pid in host.processes("ImplicitFunc"):
            number = Path(folder_of(pid)).name
            if number.isdigit() and not (self._root / self.name / "trials" / number / "end.json").exists():
                return pid, int(number)
        return None

    def step(self, number: int) -> int:
        """Of a trial's checkpoint; 0 without one."""
        state = self._root / self.name / "trials" / f"{number:04d}" / "checkpoint" / "state.pt"
        try:
            return int(torch.load(state, weights_only=True)["step"])
        except (OSError, RuntimeError, EOFError):  # being replaced
            return 0

    def wait_for_trial(self, hosts: list[Host], at_step: int) -> tuple[Host, int, int]:
        """Until one of the hosts trains a trial that has a checkpoint of so many steps: host, pid, trial."""
        while True:
            self.wait()
            for host in hosts:
                found = self.trained_on(host)
                if found is not None and self.step(found[1]) >= at_step:
                    return host, *found

    def wait(self) -> None:
        """A moment, in which the sweep must not end."""
        time.sleep(0.1)
        assert self.driver.poll() is None, self.log.read_text()[-3000:]

    def finish(self) -> None:
        assert self.driver.wait(timeout=240) == 0, self.log.read_text()[-3000:]


@contextmanager
def never_goes_back(sweep: Sweep, trials: int) -> Iterator[None]:
    """Meanwhile the step of no trial's checkpoint falls, as it would if a trial began anew."""
    ended, seen = threading.Event(), [[0] for _ in range(trials)]

    def watch() -> None:
        while not ended.wait(0.2):
            for number, steps in enumerate(seen):
                if (step := sweep.step(number)) not in (0, steps[-1]):
                    steps.append(step)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    assert all(steps == sorted(steps) for steps in seen), seen
    assert all(len(steps) > 3 for steps in seen), seen


def mlflow_scores(root: Path, name: str) -> dict[str, list[int]]:
    """Trial → steps of its scores, of all runs of a sweep; a trial that has two runs has each step twice."""
    found: dict[str, list[int]] = {}
    with sqlite3.connect(root / "mlflow.db") as store:
        for trial, step in store.execute(
            "select t.value, m.step from runs r join metrics m on m.run_uuid = r.run_uuid and m.key = 'score'"
            " join tags t on t.run_uuid = r.run_uuid and t.key = 'stsweep.trial'"
            " join tags s on s.run_uuid = r.run_uuid and s.key = 'stsweep.sweep' where s.value = ? order by m.step",
            (name,),
        ):
            found.setdefault(trial, []).append(step)
    return found


def check_whole(sweep: Sweep, trials: int, rungs: int) -> None:
    """Every trial has completed, with every row once, in the record and in MLflow."""
    record = sweep.record
    assert [trial.state for trial in record.trials()] == ["completed"] * trials
    for trial in record.trials():
        lines = (record.trial_folder(trial.number) / "rows.jsonl").read_text().splitlines()
        assert [json.loads(line)["rung_index"] for line in lines] == list(range(rungs))
    assert mlflow_scores(record.folder.parent, sweep.name) == {str(n): list(range(rungs)) for n in range(trials)}


def test_a_node_that_vanishes_with_its_trial_three_times_costs_a_sweep_nothing(hosts, workshop):
    sweep = Sweep(hosts, workshop, "vanish", trials=4, sentences=4800, grace=1600)
    with never_goes_back(sweep, 4), ThreadPoolExecutor() as at_once:
        first, *_ = sweep.wait_for_trial(hosts.workers, at_step=20)
        first.vanish()
        second, *_ = sweep.wait_for_trial([worker for worker in hosts.workers if worker is not first], at_step=20)
        second.vanish()
        list(at_once.map(hosts.bring_back, (first, second)))
        third, *_ = sweep.wait_for_trial(hosts.workers, at_step=20)
        third.vanish()
        hosts.bring_back(third)
        sweep.finish()
    check_whole(sweep, trials=4, rungs=3)
    deaths = [deaths_of(trial.folder) for trial in sweep.record.trials()]
    assert sum(each.failures for each in deaths) == 0, "\n".join(each.said for each in deaths)
    assert sum(each.preemptions for each in deaths) >= 3
    assert sweep.log.read_text().count("its node is gone; it goes on from its last checkpoint") >= 3


def test_a_worker_that_is_cut_off_stalls_and_wakes_when_its_trial_runs_elsewhere_writes_nothing_twice(hosts, workshop):
    """It still reaches the shared folder, as a host whose storage has a network of its own does."""
    sweep = Sweep(hosts, workshop, "split", trials=2, sentences=4800, grace=2400)
    with never_goes_back(sweep, 2):
        cut, pid, number = sweep.wait_for_trial(hosts.workers, at_step=20)
        cut.unplug()
        signal_all([pid], signal.SIGSTOP)
        stalled_at = sweep.step(number)
        while sweep.step(number) <= stalled_at:  # until another worker has gone on with it
            sweep.wait()
        signal_all([pid], signal.SIGCONT)
        sweep.finish()
        wait_until_idle(pid)
    check_whole(sweep, trials=2, rungs=2)
    cut.plug()
    deadline = time.monotonic() + 90
    while left := cut.processes("raylet"):
        assert time.monotonic() < deadline, [command_line(each) for each in left]
        time.sleep(0.2)
    check_whole(sweep, trials=2, rungs=2)


def wait_until_idle(pid: int, seconds: float = 3.0) -> None:
    """Until a process has used no CPU for a while, or is gone."""
    deadline = time.monotonic() + 90
    while True:
        before = cpu_seconds(pid)
        time.sleep(seconds)
        if cpu_seconds(pid) - before < 0.1:
            return
        assert time.monotonic() < deadline, "the worker that was cut off is still busy"
