"""What it costs to find the best score of a full grid: sentences trained, on the student's recorded curves.

    python benchmarks/strategies.py [--seeds 20] [--trials 300] [--slots 2] [--reduction-factor 4] [--curves TABLE.csv]

The grid runs every one of its cells to the top, as the paper did; its cost is the whole of it, for nothing is known to
be the best before. The others search the same cells with the same rungs until they reach the grid's best score: ours
(TPE and ASHA, the temperature asked only where it matters), Ray's OptunaSearch with random proposals and
ASHAScheduler, and the same with its TPE. Medians over the seeds; a search that never arrives counts as infinite.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from optuna.distributions import CategoricalDistribution

import search_spaces
from sweep.simulation.compare import compare, comparison_text
from sweep.simulation.outcome import Outcome
from sweep.simulation.plain import simulate_plain
from sweep.simulation.recorded import STUDENT, RecordedWorld, read_curves
from sweep.simulation.simulated_sweep import simulate_spec, with_sampler_seed
from sweep.spec.distribution import Choices
from sweep.spec.sections import Sampler, Scheduler, Stop
from sweep.spec.sweep_spec import SweepSpec, load_spec, rungs

_WEIGHT, _TEMPERATURE = "loss.contrastive_weight", "loss.temperature"


def main() -> None:
    arguments = _arguments()
    curves = read_curves(arguments.curves)
    spec = _ours(RecordedWorld(curves), arguments)
    world = RecordedWorld(curves, rungs=rungs(spec))
    target = max(world.run(cell, 0).scores[-1] for cell in world.cells)
    full = len(world.cells) * world.rungs[-1]
    plain = partial(_plain, world, arguments, target)
    spec = spec.model_copy(update={"stop": Stop(target=target)})
    strategies = {
        "full grid, all cells": lambda seed: Outcome((), 1, full, ((full, target),)),
        "ours: TPE + ASHA": lambda seed: simulate_spec(
            with_sampler_seed(spec, seed), world, slots=arguments.slots, seed=seed
        ),
        "Ray: random + ASHA": partial(plain, at_random=True),
        "Ray: OptunaSearch + ASHA": plain,
    }
    begin = time.perf_counter()
    results = compare(strategies, range(arguments.seeds), target)
    print(f"{len(world.cells)} cells, rungs {', '.join(map(str, world.rungs))}; {time.perf_counter() - begin:.0f} s")
    print(f"{arguments.seeds} seeds, {arguments.slots} slots, at most {arguments.trials} trials")
    print(comparison_text(results, target))
    ours = results[1].median_sentences
    for result, figure in zip((results[0], *results[2:]), (8.0, 1.5, 1.0), strict=True):
        print(f"ours ÷ {result.name}: {ours / result.median_sentences:.3f} (to reach: ≤ {1 / figure:.3f})")


def _ours(world: RecordedWorld, arguments: argparse.Namespace) -> SweepSpec:
    """The grid of student_grid.yaml as one search space with a condition."""
    base = load_spec(search_spaces.folder() / "student_grid.yaml")
    search = {knob: Choices(choices=domain.values) for knob, domain in world.domains.items()}
    weights = tuple(weight for weight in world.domains[_WEIGHT].values if weight > 0)
    search[_TEMPERATURE] = Choices(choices=world.domains[_TEMPERATURE].values, when={_WEIGHT: weights})
    return base.model_copy(
        update={
            "search": search,
            "sampler": Sampler(name="tpe"),
            "scheduler": Scheduler(name="asha", grace=world.rungs[0], reduction_factor=arguments.reduction_factor),
            "trials": arguments.trials,
        }
    )


def _plain(
    world: RecordedWorld, arguments: argparse.Namespace, target: float, seed: int, *, at_random: bool = False
) -> Outcome:
    space = {knob: CategoricalDistribution(domain.values) for knob, domain in world.domains.items()}
    return simulate_plain(
        space,
        world,
        trials=arguments.trials,
        slots=arguments.slots,
        seed=seed,
        sampler_seed=seed,
        reduction_factor=arguments.reduction_factor,
        until=target,
        at_random=at_random,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--reduction-factor", type=float, default=4.0)
    parser.add_argument("--curves", type=Path, default=STUDENT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
