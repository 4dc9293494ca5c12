"""What `stsweep simulate` does and says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from sweep.resources import slots as at_once
from sweep.simulation.fit import world_of
from sweep.simulation.simulated_sweep import simulate_spec, with_sampler_seed
from sweep.spec.space import trial_count

if TYPE_CHECKING:
    from sweep.resources import Cluster
    from sweep.simulation.outcome import Outcome
    from sweep.spec.sweep_spec import SweepSpec

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Simulations:
    """One spec simulated with several sampler seeds; `outcomes` is by seed, `noise_sd` in points."""

    sweep: str
    world: str
    noise_sd: float
    slots: int
    most_sentences: int
    outcomes: dict[int, Outcome]


def simulations(
    spec: SweepSpec,
    world: str,
    *,
    seeds: int,
    slots: int,
    noise_sd: float | None = None,
    cluster: Cluster | None = None,
) -> Simulations:
    """Simulate a spec `seeds` times: sampler seeds and noise seeds count up from the spec's `sampler.seed`.

    Raises:
        Refused: as `world_of` and `simulate_spec`.
    """
    known = world_of(spec, world, noise_sd)
    first = spec.sampler.seed
    outcomes = {
        seed: simulate_spec(with_sampler_seed(spec, seed), known, slots=slots, seed=seed, cluster=cluster)
        for seed in range(first, first + seeds)
    }
    slots = slots if cluster is None else at_once(spec.resources, cluster)
    return Simulations(spec.name, world, known.noise_sd, slots, trial_count(spec) * known.rungs[-1], outcomes)


def simulation_json(found: Simulations) -> dict[str, Any]:
    """The simulations as plain data."""
    return {
        "sweep": found.sweep,
        "world": found.world,
        "noise_sd": found.noise_sd,
        "slots": found.slots,
        "most_sentences": found.most_sentences,
        "seeds": [
            {
                "seed": seed,
                "best_score": outcome.best,
                "sentences": outcome.sentences,
                "seconds": outcome.wall_seconds,
                "busy_share": outcome.busy_share,
                "trials": dict(Counter(trial.state for trial in outcome.trials)),
            }
            for seed, outcome in found.outcomes.items()
        ],
    }


def simulation_text(found: Simulations) -> str:
    """The simulations for a person: medians over the seeds, with the worst."""
    outcomes = list(found.outcomes.values())
    best = sorted(outcome.best for outcome in outcomes if outcome.best is not None)
    without = len(outcomes) - len(best)
    sentences = median(outcome.sentences for outcome in outcomes)
    states = Counter(trial.state for outcome in outcomes for trial in outcome.trials)
    total = states.total()
    lines = [
        f"{found.sweep} in the world {found.world}, noise {found.noise_sd:g} points: {len(outcomes)} seeds, "
        f"{found.slots} trials at once",
        f"best score: median {median(best):.2f}, worst {best[0]:.2f}, best {best[-1]:.2f}" if best else "",
        f"no trial reached the top rung with {without} of {len(outcomes)} seeds" if without else "",
        f"sentences: {sentences:,.0f}, {sentences / found.most_sentences:.2f} of all trials run to the top",
        f"time: {median(outcome.wall_seconds for outcome in outcomes) / _HOUR_S:.2f} h, slots busy "
        f"{median(outcome.busy_share for outcome in outcomes):.2f} of it",
        "trials: " + ", ".join(f"{count / total:.0%} {state}" for state, count in states.most_common()),
    ]
    return "\n".join(line for line in lines if line)
