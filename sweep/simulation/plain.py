"""Ray's own OptunaSearch and ASHAScheduler, joined as their documentation does: what ours is compared with."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from sweep.simulation.clock import simulate

if TYPE_CHECKING:
    from sweep.simulation.outcome import Outcome
    from sweep.simulation.worlds import World


def simulate_plain(
    space: Mapping[str, optuna.distributions.BaseDistribution],
    world: World,
    *,
    trials: int,
    slots: int,
    seed: int,
    sampler_seed: int,
    reduction_factor: float,
    at_random: bool = False,
    raises: bool = False,
    until: float = math.inf,
) -> Outcome:
    """Run the plain strategy in a world, ASHA's first rung at the world's.

    Args:
        space: Knob → Optuna distribution; every knob is always asked.
        world: See `simulate`.
        trials: How many (`num_samples`).
        slots: Trials at once.
        seed: Of the world's noise.
        sampler_seed: Of OptunaSearch.
        reduction_factor: Of ASHA.
        at_random: Optuna's random sampler in place of its TPE.
        raises: A trial that fails raises, so that OptunaSearch hears of an error.
        until: See `simulate`.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
    said: dict[str, Any] = {"metric": "score", "mode": "max"}
    chosen: dict[str, Any] = (
        {"sampler": optuna.samplers.RandomSampler(seed=sampler_seed)} if at_random else {"seed": sampler_seed}
    )
    scheduler = ASHAScheduler(
        **said,
        time_attr="rung",
        grace_period=world.rungs[0],
        max_t=world.rungs[-1],
        reduction_factor=reduction_factor,
    )
    return simulate(
        OptunaSearch(space=dict(space), **said, **chosen),
        scheduler,
        world,
        slots=slots,
        seed=seed,
        trials=trials,
        raises=raises,
        until=until,
    )
