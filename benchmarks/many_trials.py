"""A sweep of thousands of trials, simulated: what the driver's own part costs, and whether it grows.

    python benchmarks/many_trials.py [--trials 5000] [--slots 8]

Our searcher, scheduler and record run in `AnalyticWorld` on a simulated clock, the record in memory (/dev/shm). Every
call of Optuna's `ask` and `tell` is timed and noted. Then bare Optuna, with a study in memory and its own TPE, asks and
tells the same: as many trials, in the same order, with the same scores at the same rungs, the same states and the same
constraints. Our own time is the total less the time inside Optuna's `ask` (its sampler and `suggest` with it) and
`tell`, less that inside Ray's rule at the rungs (a percentile over all that a rung has had), and less what a worker
would do in a real sweep: the world's run and the writing of rows. When our sampler asks Optuna's for another point of
the same trial, that is our time. All times are of the processor, so that they hold on a machine that does other things
too; nothing here waits.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState as Told
from ray.tune.schedulers import AsyncHyperBandScheduler

from sweep.samplers import PointSampler
from sweep.simulation import clock
from sweep.simulation.analytic import BATCH, LEARNING_RATE, POOLING, POOLINGS, TEMPERATURE, AnalyticWorld
from sweep.simulation.outcome import Outcome, SimulatedTrial
from sweep.simulation.simulated_sweep import simulate_spec
from sweep.spec.space import distributions
from sweep.spec.sweep_spec import SweepSpec, load_spec
from sweep.trial_record import RowLog

_SPEC = f"""\
name: many-trials
train: {{budget: {{sentences: 6400}}}}
search:
  {LEARNING_RATE}: {{low: 1e-5, high: 1e-2, log: true}}
  {TEMPERATURE}: {{low: 0.01, high: 0.2, log: true}}
  {BATCH}: {{low: 32, high: 256}}
  {POOLING}: {{choices: [{", ".join(POOLINGS)}]}}
sampler: {{name: tpe}}
scheduler: {{name: asha, grace: 400, reduction_factor: 4}}
objective: {{task: demo, split: dev}}
"""
OURS, OPTUNA, RAY, WORKER = "ours", "Optuna", "Ray", "worker"
_STATM = Path("/proc/self/statm")
_MEMORY_EVERY = 100


class Meter:
    """Whose time it is, and what Optuna was asked and told.

    Attributes:
        calls: `("ask" or "tell", number)` in order.
        spent: Seconds of `OURS`, `OPTUNA`, `RAY` and `WORKER`, at the end of each call.
        memory: Resident bytes after every hundredth call.
        total: Seconds of each until now.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.spent: list[dict[str, float]] = []
        self.memory: list[int] = []
        self.total = {OURS: 0.0, OPTUNA: 0.0, RAY: 0.0, WORKER: 0.0}
        self._since = time.process_time()
        self._whose = OURS
        self._draws: Counter[int] = Counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Measure within. Optuna draws a point at the first `suggest`, by way of our sampler, which calls Optuna's."""
        watched: list[tuple[Any, str, str]] = [(optuna.Study, name, OPTUNA) for name in ("ask", "tell")]
        watched += [(optuna.Trial, f"suggest_{kind}", OPTUNA) for kind in ("float", "int", "categorical")]
        watched += [(PointSampler, name, OURS) for name in ("sample_relative", "infer_relative_search_space")]
        watched += [(optuna.samplers.TPESampler, f"sample_{kind}", OPTUNA) for kind in ("relative", "independent")]
        watched += [(AsyncHyperBandScheduler, "on_trial_result", RAY)]
        watched += [(AnalyticWorld, "run", WORKER), (RowLog, "append", WORKER), (clock, "write_whole", WORKER)]
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
        for owner, name, whose in watched:
            setattr(owner, name, self._timed(getattr(owner, name), name, whose))
        try:
            yield
        finally:
            self._switch(OURS)
            for owner, name, original in before:
                setattr(owner, name, original)

    def _timed(self, original: Callable[..., Any], name: str, whose: str) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            again = whose == OPTUNA and name.startswith("sample_") and self._is_drawn_again(name, given[2].number)
            outer = self._switch(OURS if again else whose)
            try:
                found = original(*given, **named)
            finally:
                self._switch(outer)
            if name in ("ask", "tell"):
                self._note(name, found.number)
            return found

        return timed

    def _is_drawn_again(self, name: str, number: int) -> bool:
        """Whether Optuna's sampler is asked for another point of the trial: bare Optuna would have taken the first."""
        self._draws[number] += name == "sample_relative"
        return self._draws[number] > 1

    def _switch(self, whose: str) -> str:
        """From now on the time is of `whose`; whose it was until now."""
        now, was = time.process_time(), self._whose
        self.total[was] += now - self._since
        self._since, self._whose = now, whose
        return was

    def _note(self, call: str, number: int) -> None:
        self.calls.append((call, number))
        self.spent.append(dict(self.total))
        if len(self.calls) % _MEMORY_EVERY == 0:
            self.memory.append(int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        if call == "tell" and number % 500 == 499:
            print(f"  trial {number + 1}: {sum(self.total.values()):.0f} s", file=sys.stderr, flush=True)

    def own(self, first: int, last: int) -> float:
        """Our own seconds between the `first` and the `last` ask (counted from 0)."""
        places = [place for place, (call, _) in enumerate(self.calls) if call == "ask"]
        start, end = places[first], places[min(last, len(places) - 1)]
        return self.spent[end][OURS] - self.spent[start][OURS]

    def growth(self) -> float:
        """Bytes a trial, from the end of the first tenth of the trials to the end of the last."""
        start = len(self.memory) // 10
        between = (len(self.memory) - 1 - start) * _MEMORY_EVERY / 2  # a trial is two calls
        return (self.memory[-1] - self.memory[start]) / between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--slots", type=int, default=8)
    arguments = parser.parse_args()
    spec, world = _spec(arguments.trials), AnalyticWorld()
    meter = Meter()
    with meter.watching():
        outcome = simulate_spec(spec, world, slots=arguments.slots, seed=0)
    driver = meter.total[OURS] + meter.total[OPTUNA] + meter.total[RAY]
    bare = _bare(spec, outcome, meter.calls)
    block = max(1, arguments.trials // 5)
    early, late = meter.own(0, block), meter.own(arguments.trials - block, arguments.trials)
    inside, rule, beside = meter.total[OPTUNA], meter.total[RAY], meter.total[WORKER]
    print(f"{len(outcome.trials)} trials on {arguments.slots} slots")
    print(f"the driver: {driver:.1f} s, {inside:.1f} s of it inside Optuna, {rule:.1f} s in Ray's rule at the rungs")
    print(f"beside it a worker's {beside:.1f} s")
    print(f"bare Optuna, the same asks and tells: {bare:.1f} s; driver ÷ bare: {driver / bare:.2f} (to reach: ≤ 3)")
    ms = 1e3 / block
    print(f"our own time a trial: first {block} {ms * early:.2f} ms, last {block} {ms * late:.2f} ms")
    print(f"last ÷ first: {late / early:.2f} (to reach: ≤ 1.3)")
    print(f"memory of the driver: {meter.growth() / 1e3:.1f} kB a trial (to reach: ≤ 40)")


def _bare(spec: SweepSpec, outcome: Outcome, calls: list[tuple[str, int]]) -> float:
    """Seconds that a study in memory takes for the same calls."""
    space = distributions(spec)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    ended = {trial.number: trial for trial in outcome.trials}
    running: dict[int, optuna.Trial] = {}
    begin = time.process_time()
    for call, number in calls:
        if call == "ask":
            running[number] = study.ask(space)
        else:
            _tell(study, running.pop(number), ended[number])
    return time.process_time() - begin


def _tell(study: optuna.Study, trial: optuna.Trial, ended: SimulatedTrial) -> None:
    for step, score in enumerate(ended.scores):
        trial.report(score, step)
    if ended.state == "completed":
        study.tell(trial, ended.scores[-1])
    else:
        trial.set_constraint("has_score", 0.0 if ended.state == "stopped" else 1.0)
        study.tell(trial, state=Told.PRUNED)


def _spec(trials: int) -> SweepSpec:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(_SPEC, encoding="utf-8")
        return load_spec(path, [f"trials={trials}"])


if __name__ == "__main__":
    main()
