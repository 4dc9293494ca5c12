"""Trials wasted where a configuration has no memory: ours beside Ray's plain OptunaSearch, simulated.

    python benchmarks/memory_region.py [--seeds 8] [--first-seed 0] [--trials 100] [--slots 2]

The world is `AnalyticWorld`: the best scores lie next to the region where the widest pooling and a large batch have no
memory together. A plain training function raises there, Ray reports an error, and OptunaSearch tells Optuna FAIL, which
teaches its TPE nothing. FAIL does not count towards Optuna's start-up either: plain TPE begins to model only when ten
trials have ended otherwise, so some of its trials after the tenth are still random ones. Counted are trials without
memory after the first ten, of both, and the best score at the top rung, over all seeds.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from statistics import fmean

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.simulation.analytic import BATCH, LEARNING_RATE, POOLING, POOLINGS, TEMPERATURE, AnalyticWorld
from sweep.simulation.outcome import Outcome
from sweep.simulation.plain import simulate_plain
from sweep.simulation.simulated_sweep import simulate_spec, with_sampler_seed
from sweep.spec.space import distributions
from sweep.spec.sweep_spec import SweepSpec, load_spec

STARTUP = 10
"""Random trials before TPE models anything: the default of Optuna, and ours."""

_SPEC = f"""\
name: memory-region
train: {{budget: {{sentences: 6400}}}}
search:
  {LEARNING_RATE}: {{low: 1e-5, high: 1e-3, log: true}}
  {TEMPERATURE}: {{low: 0.01, high: 0.2, log: true}}
  {BATCH}: {{low: 32, high: 512}}
  {POOLING}: {{choices: [{", ".join(POOLINGS)}]}}
sampler: {{name: tpe, startup_trials: {STARTUP}}}
scheduler: {{name: asha, grace: 400, reduction_factor: 4}}
objective: {{task: demo, split: dev}}
"""
_SPACE = {
    LEARNING_RATE: FloatDistribution(1e-5, 1e-3, log=True),
    TEMPERATURE: FloatDistribution(0.01, 0.2, log=True),
    BATCH: IntDistribution(32, 512),
    POOLING: CategoricalDistribution(tuple(POOLINGS)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--slots", type=int, default=2)
    arguments = parser.parse_args()
    world, spec = AnalyticWorld(), _spec(arguments.trials)
    assert distributions(spec) == _SPACE, "both search the same space"
    print(f"without memory, of {arguments.trials - STARTUP} trials after the first {STARTUP}; best score")
    print(f"{'seed':>5} {'ours':>6} {'plain':>6} {'ours':>8} {'plain':>8}")
    ours: list[tuple[int, float]] = []
    plain: list[tuple[int, float]] = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        our = simulate_spec(with_sampler_seed(spec, seed), world, slots=arguments.slots, seed=seed)
        their = simulate_plain(
            _SPACE,
            world,
            trials=arguments.trials,
            slots=arguments.slots,
            seed=seed,
            sampler_seed=seed,
            reduction_factor=4,
            raises=True,
        )
        ours.append((_wasted(our), _best(our)))
        plain.append((_wasted(their), _best(their)))
        print(f"{seed:>5} {ours[-1][0]:>6} {plain[-1][0]:>6} {ours[-1][1]:>8.2f} {plain[-1][1]:>8.2f}")
    our_waste, our_best = map(fmean, zip(*ours, strict=True))
    their_waste, their_best = map(fmean, zip(*plain, strict=True))
    print(f"{'mean':>5} {our_waste:>6.1f} {their_waste:>6.1f} {our_best:>8.2f} {their_best:>8.2f}")
    ratio = our_waste / their_waste if their_waste else math.nan
    print(f"without memory, ours ÷ plain: {ratio:.2f} (to reach: ≤ 0.50)")


def _spec(trials: int) -> SweepSpec:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(_SPEC, encoding="utf-8")
        return load_spec(path, [f"trials={trials}"])


def _wasted(outcome: Outcome) -> int:
    return sum(trial.state == "infeasible" for trial in outcome.trials[STARTUP:])


def _best(outcome: Outcome) -> float:
    return math.nan if outcome.best is None else outcome.best


if __name__ == "__main__":
    main()
