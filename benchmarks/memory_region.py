"""Trials wasted where a configuration has no memory: ours beside Ray's plain OptunaSearch, simulated.

    python benchmarks/memory_region.py [--seeds 8] [--trials 100] [--slots 2]

The world is `AnalyticWorld`: the best scores lie next to the region where the widest pooling and a large batch have no
memory together. A plain training function raises there, Ray reports an error, and OptunaSearch tells Optuna FAIL, which
teaches its TPE nothing. Counted are trials without memory after the start-up ones, over all seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

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
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--slots", type=int, default=2)
    arguments = parser.parse_args()
    world, spec = AnalyticWorld(), _spec(arguments.trials)
    assert distributions(spec) == _SPACE, "both search the same space"
    print(f"{'seed':>5} {'ours':>6} {'plain':>6}   of {arguments.trials - STARTUP} trials after start-up; best scores")
    ours, plain = [], []
    for seed in range(arguments.seeds):
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
        ours.append(_wasted(our))
        plain.append(_wasted(their))
        print(f"{seed:>5} {ours[-1]:>6} {plain[-1]:>6}   {_best(our)} {_best(their)}")
    ratio = sum(ours) / sum(plain) if sum(plain) else float("nan")
    print(f"{'sum':>5} {sum(ours):>6} {sum(plain):>6}   ours ÷ plain: {ratio:.2f} (to reach: ≤ 0.50)")


def _spec(trials: int) -> SweepSpec:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(_SPEC, encoding="utf-8")
        return load_spec(path, [f"trials={trials}"])


def _wasted(outcome: Outcome) -> int:
    return sum(trial.state == "infeasible" for trial in outcome.trials[STARTUP:])


def _best(outcome: Outcome) -> str:
    return "none" if outcome.best is None else f"{outcome.best:.2f}"


if __name__ == "__main__":
    main()
