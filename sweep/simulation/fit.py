"""Which world a spec is simulated in, and whether that world knows what the spec searches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sweep.errors import Problem, Refused, nearest
from sweep.simulation.analytic import AnalyticWorld
from sweep.simulation.paper import PaperWorld
from sweep.simulation.recorded import STUDENT, RecordedWorld, read_curves
from sweep.spec.distribution import Range, each_value
from sweep.spec.fields import show
from sweep.spec.search import points
from sweep.spec.sweep_spec import rungs

if TYPE_CHECKING:
    from sweep.simulation.worlds import World
    from sweep.spec.sweep_spec import SweepSpec

WORLDS = ("student", "paper", "analytic")
"""`student`: recorded curves of the quickstart's student. `paper`: the paper's tables. `analytic`: formulas."""

_MOST_NOISE = 100.0
"""Points: half of all that a score can be."""


def world_of(spec: SweepSpec, name: str, noise_sd: float | None = None) -> World:
    """The world of that name, scored at the spec's rungs.

    Args:
        spec: Every knob that it searches must be known to the world.
        name: One of `WORLDS`.
        noise_sd: Standard deviation of a score, in points. None: the world's own.

    Raises:
        Refused: there is no such world or no such noise, or the world does not know all that the spec searches; every
            reason is told.
    """
    if name not in WORLDS:
        message = f"no such world: {name!r}; give {', '.join(WORLDS)}{nearest(name, WORLDS)}"
        raise Refused([Problem(message, key="--world")], next="stsweep simulate SPEC --world student")
    if noise_sd is not None and not (math.isfinite(noise_sd) and 0 <= noise_sd <= _MOST_NOISE):
        message = f"{noise_sd:g} is no standard deviation of a score; give 0 to {_MOST_NOISE:g} points"
        raise Refused([Problem(message, key="--noise")], next="stsweep simulate SPEC --noise 0.3")
    again = f"correct it, with --set too, then: stsweep simulate SPEC --world {name}"
    if problems := [*_beyond(spec)]:
        raise Refused(problems, next=again)
    world = _make(name, rungs(spec), {} if noise_sd is None else {"noise_sd": noise_sd})
    if problems := [*_unknown_knobs(spec, world, name), *_unknown_values(spec, world, name)]:
        raise Refused(problems, next=again)
    if problems := [*_not_there(spec, world, name)]:
        raise Refused(problems, next=again)
    return world


def _make(name: str, at: tuple[int, ...], noise: Mapping[str, float]) -> World:
    if name == "paper":
        return PaperWorld(at, **noise)
    if name == "analytic":
        return AnalyticWorld(at, **noise)
    return RecordedWorld(read_curves(STUDENT), rungs=at, continuous=True, **noise)


def _beyond(spec: SweepSpec) -> Iterator[Problem]:
    """What no world has."""
    if spec.scheduler.axis == "seconds":
        yield Problem("worlds are scored at sentences; give sentences", key="scheduler.axis")
    if spec.objective.against is not None:
        yield Problem("worlds have scores alone, no sizes and no times a sentence; give null", key="objective.against")
    if spec.sampler.warm_start:
        yield Problem("a simulation has no earlier sweeps; give []", key="sampler.warm_start")


def _unknown_knobs(spec: SweepSpec, world: World, name: str) -> Iterator[Problem]:
    for knob in spec.searched:
        if knob not in world.domains:
            known = ", ".join(world.domains)
            message = f"the world {name} has no such knob{nearest(knob, world.domains)}; it has {known}"
            yield Problem(f"{message}; fix it: --set {knob}=VALUE", key=knob)


def _unknown_values(spec: SweepSpec, world: World, name: str) -> Iterator[Problem]:
    flat = spec.train.flatten()
    for knob, domain in world.domains.items():
        given = [grid[knob] for grid in spec.grids if knob in grid]
        if not domain.between and any(isinstance(each, Range) for each in given):
            values = ", ".join(map(str, domain.values))
            message = f"the world {name} has nothing between its values; give {{choices: [{values}]}}"
            yield Problem(message, key=knob)
            continue
        wrong = [value for value in each_value(spec.grids, knob, flat[knob]) if not domain.holds(value)]
        if wrong:
            listed = ", ".join(map(show, wrong))
            message = f"the world {name} does not know {listed}; it has {domain}"
            yield Problem(message, key=knob)


def _not_there(spec: SweepSpec, world: World, name: str) -> Iterator[Problem]:
    """Values that the world knows one by one, but not together: a table may lack some of its cells."""
    flat = spec.train.flatten()
    found = [flat | point for point in points(spec.grids or ({},), spec.train)]
    lost = [knobs for knobs in found if not _runs(world, knobs)]
    if lost:
        first = ", ".join(f"{knob} = {show(lost[0][knob])}" for knob in world.domains)
        message = f"the world {name} has no curve for {len(lost)} of {len(found)} points; the first is {first}"
        yield Problem(f"{message}; leave out a value of it", key="search")


def _runs(world: World, knobs: Mapping[str, Any]) -> bool:
    try:
        world.run(knobs, 0)
    except Refused:
        return False
    return True
