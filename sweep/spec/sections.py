"""The sections of a sweep file beside `train` and `search`: who proposes, who stops, what is scored, what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from model.config import Section
from sweep.spec.distribution import Value
from sweep.spec.fields import STAND_IN, WORDS

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
"""What a sweep may be called."""


def _whole(value: float | None) -> float | None:
    """YAML reads `1e5` as a float; a count of sentences is whole."""
    return int(value) if value is not None and value == int(value) else value


Grace = Annotated[
    Annotated[int, Field(ge=1, le=10**12)] | Annotated[float, Field(gt=0, le=10**12)] | None, AfterValidator(_whole)
]


class Sampler(Section):
    """Who proposes the next trial: one of Optuna's samplers."""

    name: Literal["tpe", "gp", "cmaes", "random", "qmc", "nsga2", "grid"] = "tpe"
    """`tpe`: tree-structured Parzen estimator. `gp`: Gaussian process. `cmaes`: covariance matrix adaptation, numbers
    only. `random`. `qmc`: quasi-random (Sobol). `nsga2`: a genetic algorithm. `grid`: every point of `search`, once."""
    startup_trials: int = Field(default=10, ge=1)
    """Random trials before `tpe`, `gp` and `cmaes` start to model the scores; the others ignore it. `gp` and `cmaes`
    count, and learn from, the trials that reached the budget's end alone."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds the proposals and HyperBand's brackets; `train.seed` seeds the training."""
    warm_start: tuple[str, ...] = ()
    """Names of earlier sweeps of the same root whose trials `tpe` or `gp` learns from before it proposes one."""


class Scheduler(Section):
    """Who ends a trial early."""

    name: Literal["asha", "hyperband", "median", "none"] = "none"
    """`asha`: asynchronous successive halving. `hyperband`: several such brackets, each with a later first rung.
    `median`: a trial below the median of the others ends. `none`: every trial runs to the budget."""
    axis: Literal["sentences", "seconds"] = "sentences"
    """What trials are compared at: equal sentences seen, or equal seconds of training. With `seconds` too, a trial
    ends at `budget.sentences`, and the learning rate decays over those."""
    grace: Grace = Field(
        default=None,
        json_schema_extra={WORDS: "whole sentences from 1, or with axis: seconds any seconds above 0 (10^12 at most)"},
    )
    """Sentences, a whole number, or seconds of training before the first rung: no trial stops sooner. Needed unless
    `none`; `none` with it scores at the rungs and stops nothing, without it once, at the end."""
    reduction_factor: float = Field(default=4, gt=1, le=1000)
    """Rungs lie this factor apart; `asha` and `hyperband` let one trial in so many go on from each."""
    brackets: int = Field(default=3, ge=1)
    """Brackets of `hyperband`, at most one a rung; the others ignore it."""


class Objective(Section):
    """What a trial is scored by; × 100, higher is better."""

    task: str = "stsb"
    """A task of `evaluation` with a dev split: stsb, stsb-dev-clean (its 369 pairs that no test has), sickr, demo."""
    split: str = "dev"
    """A split to choose on. `test` is refused: it is opened once, after the choice."""
    metric: Literal["spearman", "pearson"] = "spearman"
    """Correlation of the cosine similarities with the gold scores."""
    poolings: Literal["own", "all"] = "own"
    """`all`: report the score with every other pooling too, from the same forward pass. The trial's own decides."""
    against: Literal["size", "latency"] | None = None
    """A second objective, to be small: the encoder's megabytes, or its milliseconds a sentence. The sweep then looks
    for the Pareto front of both. None: the score alone."""


class Stop(Section):
    """When the whole sweep ends before its last trial; whichever comes first. None: no such limit.

    Trials that run are then saved where they are, and the sweep may be resumed.
    """

    target: float | None = Field(default=None, ge=-100, le=100)
    """A score (× 100): the sweep ends when a completed trial reaches it."""
    plateau_trials: int | None = Field(default=None, ge=1)
    """The sweep ends when so many trials in a row have ended without a better best score."""
    plateau_gain: float = Field(default=0.1, ge=0)
    """Points by which a score has to be better to count. Only with `plateau_trials`."""
    wall_hours: float | None = Field(default=None, gt=0)
    """Hours from start to end, over all resumes."""
    worker_hours: float | None = Field(default=None, gt=0)
    """Hours of all workers of all trials together."""
    cost: float | None = Field(default=None, gt=0)
    """Worker hours × `resources.cost_per_hour`, which it needs."""


class Bounds(Section):
    """Numbers from `low` to `high`, both included; None: no such bound."""

    low: Annotated[float, Field(strict=True)] | None = None
    high: Annotated[float, Field(strict=True)] | None = None


class Case(Section, json_schema_extra={STAND_IN: {"when": {"seed": [0]}}}):
    """Trials that take something else than the others."""

    when: dict[str, Bounds | tuple[Value, ...]] = Field(
        min_length=1, json_schema_extra={WORDS: "a mapping of knobs to lists of values or to {low, high}"}
    )
    """Knobs → values, or `{low, high}`: the trials in which every one of them has such a value."""
    workers: int | None = Field(default=None, ge=1)
    """As in `resources`; None: the same."""
    cpus_per_worker: float | None = Field(default=None, gt=0)
    """As in `resources`; None: the same."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """As in `resources`; None: the same."""

    def holds(self, knobs: Mapping[str, Any]) -> bool:
        """Whether a flat configuration is one of these trials."""
        return all(_is_among(knobs[knob], values) for knob, values in self.when.items())

    @property
    def said(self) -> dict[str, Any]:
        """What it changes, by the names of `sweep.placement.Ask`."""
        changes = {"workers": self.workers, "cpus": self.cpus_per_worker, "gpus": self.gpus_per_worker}
        return {name: value for name, value in changes.items() if value is not None}


def _is_among(value: Any, values: Bounds | tuple[Value, ...]) -> bool:
    if isinstance(values, tuple):
        return value in values
    if value is None:
        return False
    return (values.low is None or value >= values.low) and (values.high is None or value <= values.high)


class Resources(Section):
    """What one trial takes."""

    workers: int = Field(default=1, ge=1)
    """Processes that train a trial's encoder together, each on its share of every batch."""
    cpus_per_worker: float = Field(default=1, gt=0)
    """CPUs of each worker, which are also its threads."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """GPUs of each worker: whole, or of a lone worker a fraction below 1 (a promise of the scheduler, no limit of
    memory)."""
    cases: tuple[Case, ...] = ()
    """Trials that take something else, large batches more for example; of cases that hold the last counts."""
    concurrent: int | None = Field(default=None, ge=1)
    """Most trials at once; a cluster that grows is asked for all of them together. None: as many as fit, and on a
    cluster one that waits."""
    cost_per_hour: float | None = Field(default=None, gt=0)
    """What one worker costs an hour, in any currency. None: not known."""
