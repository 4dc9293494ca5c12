"""What it costs to find the best score of a full grid: sentences trained, on the student's recorded curves.

    python benchmarks/strategies.py [--seeds 20] [--trials 300] [--slots 2] [--reduction-factor 4] [--noise 0]
                                    [--curves TABLE.csv]

The grid runs every one of its cells to the top, as the paper did; its cost is the whole of it, for nothing is known to
be the best before. Beside it, what the grid costs in random order to somebody who knows the best score and stops at it.
The others search the same cells (`search_spaces/student_search.yaml`) with the same rungs until they reach the grid's
best score: ours (TPE and ASHA, the temperature asked only where it matters; and with the random sampler), Ray's
OptunaSearch with random proposals and ASHAScheduler, and the same with its TPE. Medians and quartiles over the seeds.
The exit code is 1 when a figure is missed; a search that never arrives decides none.

A seed varies the order of the grid's cells, the sampler, and with `--noise SD` the noise that is added to each recorded
score: all strategies of one seed see the same. The recorded curves themselves are of one training seed.

With noise the grid picks the cell with the best noisy score, which is seldom the best cell. What it has found is worth
that cell's score without noise, and this is the target of the seed: a search arrives when its own winner so far, the
trial with the best noisy score at the top, is worth as much. Every search can arrive, for the grid's winner is its
winner too once it has come to the top; and no search has to have the grid's luck, as it would for the noisy score
itself. Without noise both are the grid's best score.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from optuna.distributions import CategoricalDistribution

import search_spaces
from sweep.simulation.compare import Result, Strategy, compare, comparison_text
from sweep.simulation.outcome import Outcome
from sweep.simulation.plain import simulate_plain
from sweep.simulation.recorded import STUDENT, RecordedWorld, read_curves
from sweep.simulation.simulated_sweep import simulate_spec, with_sampler_seed
from sweep.spec.sections import Stop
from sweep.spec.sweep_spec import SweepSpec, load_spec, rungs

OURS = "ours: TPE + ASHA"
FIGURES = {"full grid, all cells": 8.0, "Ray: random + ASHA": 1.5, "Ray: OptunaSearch + ASHA": 1.0}
"""Strategy → how many times our sentences it is to take at least."""


def main() -> int:
    arguments = _arguments()
    curves = read_curves(arguments.curves)
    spec = _spec("tpe", arguments)
    world = RecordedWorld(curves, rungs=rungs(spec), noise_sd=arguments.noise)
    noiseless = RecordedWorld(curves, rungs=rungs(spec))
    seeds = range(arguments.seeds)
    grids = [_grid(world, noiseless, seed) for seed in seeds]
    # A search that has the grid's own winner cannot win more: it may end there.
    best, targets = [grid[-1].score for grid in grids], [grid[-1].worth for grid in grids]
    searches: dict[str, Strategy] = {
        OURS: partial(_ours, spec, world, arguments, best),
        "ours: random + ASHA": partial(_ours, _spec("random", arguments), world, arguments, best),
        "Ray: random + ASHA": partial(_plain, world, arguments, best, at_random=True),
        "Ray: OptunaSearch + ASHA": partial(_plain, world, arguments, best),
    }
    full = len(world.cells) * world.rungs[-1]
    strategies: dict[str, Strategy] = {
        "full grid, all cells": lambda seed: Outcome((), 1, full, ((full, targets[seed]),)),
        "full grid, random order until the best": lambda seed: Outcome(
            (), 1, full, tuple((winner.sentences, winner.worth) for winner in grids[seed])
        ),
        **{name: partial(_at_worth, search, noiseless) for name, search in searches.items()},
    }
    begin = time.perf_counter()
    results = compare(strategies, seeds, targets.__getitem__)
    seconds = time.perf_counter() - begin
    print(
        f"{len(world.cells)} cells, rungs {', '.join(map(str, world.rungs))}, noise {arguments.noise}; {seconds:.0f} s"
    )
    print(f"{arguments.seeds} seeds, {arguments.slots} slots, at most {arguments.trials} trials")
    print(f"target: median {median(targets):.2f}, {min(targets):.2f} … {max(targets):.2f}")
    print(comparison_text(results))
    return 0 if _passes({result.name: result for result in results}) else 1


def _passes(results: dict[str, Result]) -> bool:
    ours, passed = results[OURS].median_sentences, True
    for name, figure in FIGURES.items():
        theirs = results[name].median_sentences
        is_known = math.isfinite(ours) and math.isfinite(theirs)
        passed = passed and is_known and ours / theirs <= 1 / figure
        said = f"{ours / theirs:.3f}" if is_known else "none, one of them never arrives"
        print(f"ours ÷ {name}: {said} (to reach: ≤ {1 / figure:.3f})")
    return passed


def _spec(sampler: str, arguments: argparse.Namespace) -> SweepSpec:
    changes = [f"sampler.name={sampler}", f"trials={arguments.trials}"]
    changes.append(f"scheduler.reduction_factor={arguments.reduction_factor}")
    return load_spec(search_spaces.folder() / "student_search.yaml", changes)


def _at_worth(search: Strategy, noiseless: RecordedWorld, seed: int) -> Outcome:
    """A search whose history has each of its winners at its score without noise."""
    found = search(seed)
    knobs = {trial.scores[-1]: trial.knobs for trial in found.trials if trial.state == "completed"}
    history = ((sentences, noiseless.run(knobs[score], seed).scores[-1]) for sentences, score in found.history)
    return replace(found, history=tuple(history))


def _ours(
    spec: SweepSpec, world: RecordedWorld, arguments: argparse.Namespace, best: Sequence[float], seed: int
) -> Outcome:
    seeded = with_sampler_seed(spec, seed).model_copy(update={"stop": Stop(target=best[seed])})
    return simulate_spec(seeded, world, slots=arguments.slots, seed=seed)


class _Winner(NamedTuple):
    """The best cell of a grid so far.

    Attributes:
        sentences: Of all cells until it was known.
        score: With the noise, by which it won.
        worth: Its score without.
    """

    sentences: int
    score: float
    worth: float


def _grid(world: RecordedWorld, noiseless: RecordedWorld, seed: int) -> list[_Winner]:
    """One winner after another, all cells run to the top in random order; the last is the whole grid's."""
    winners: list[_Winner] = []
    sentences = 0
    for cell in random.Random(seed).sample(world.cells, len(world.cells)):
        curve = world.run(cell, seed)
        sentences += curve.lost + (world.rungs[len(curve.scores) - 1] if curve.scores else 0)
        if curve.failure is None and (not winners or curve.scores[-1] > winners[-1].score):
            winners.append(_Winner(sentences, curve.scores[-1], noiseless.run(cell, seed).scores[-1]))
    return winners


def _plain(
    world: RecordedWorld,
    arguments: argparse.Namespace,
    best: Sequence[float],
    seed: int,
    *,
    at_random: bool = False,
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
        until=best[seed],
        at_random=at_random,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--reduction-factor", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of a score, in points")
    parser.add_argument("--curves", type=Path, default=STUDENT)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
