"""`stsweep check --probe`: what a sweep will take, from a few measured steps of its largest configuration.

The same configuration is measured with the smallest batch too, whose sentences often take longer; the slower counts.

Loads no torch itself: the steps are trained in a process of their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.tasks import load_pairs
from model.corpus import read_corpus
from sweep.errors import Problem, Refused
from sweep.footprint import said_bytes
from sweep.forecast import expected_total, reaching, said_count
from sweep.largest import SIZES, largest_config, smallest_batch
from sweep.placement import Ask
from sweep.probe_process import Probed, probe_apart
from sweep.resources import ask_of, asks_of, threads
from sweep.spec.space import trial_count
from sweep.spec.sweep_spec import milestones, rungs

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_BATCHES, _SENTENCES = 4, 512
"""The sample of the corpus: so many batches, and at least so many sentences."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Estimate:
    """What the sweep takes if every trial is as slow as the slowest measured configuration.

    Measured alone: trials at once share the memory's bandwidth. What is made once before the trials (tokens, the
    teacher's embeddings, baselines) is not in it.

    Attributes:
        largest: The knobs that make the measured configuration the largest.
        measured: What one trial of it takes.
        worker_hours: Of all trials together, those stopped that are expected to be; all run to the end where that is
            not known. Never above what `stop` allows.
        most_worker_hours: The same if the scheduler stops nothing.
        hours: From start to end; None for a cluster, whose trials at once are not known.
        cost: `worker_hours` × `resources.cost_per_hour`; None without that.
        most_cost: The same if the scheduler stops nothing.
        notes: What a person should know.
    """

    largest: dict[str, Any]
    measured: Probed
    worker_hours: float
    most_worker_hours: float
    hours: float | None
    cost: float | None
    most_cost: float | None
    notes: tuple[str, ...]


def probe(spec: SweepSpec, at_once: int | None, *, trust_remote_code: bool = False) -> Estimate:
    """Measure the largest configuration of a checked spec, and say what the sweep will take.

    Args:
        spec: What `sweep.spec.check.check` found nothing wrong with.
        at_once: Trials at once; None when that is not known.
        trust_remote_code: Run code that an encoder's own files bring.

    Raises:
        Refused: The largest configuration does not fit into the memory.
        model.InputError, model.DivergedError: It cannot be trained.
    """
    config = largest_config(spec)
    flat = config.flatten()
    largest = {knob: flat[knob] for knob in SIZES}
    ask = ask_of(spec.resources, flat)
    if ask.gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # as in the workers; the probe's process inherits it
    print("training a few steps of the largest configuration", file=sys.stderr, flush=True)
    corpus = read_corpus(config.data.corpus)
    wanted = max(_SENTENCES, _BATCHES * config.optim.batch_size)
    sample = corpus[:: max(1, len(corpus) // wanted)][:wanted]
    objective = spec.objective
    pairs = load_pairs(objective.task, objective.split, spec.data_folder)
    try:
        measured = probe_apart(
            config,
            sample,
            pairs,
            small_batch=smallest_batch(spec),
            every_pooling=objective.poolings == "all",
            threads=threads(ask),
            trust_remote_code=trust_remote_code,
        )
    except (MemoryError, BrokenProcessPool) as error:
        said = ", ".join(f"{knob} {value}" for knob, value in largest.items())
        why = "does not fit into the memory" if isinstance(error, MemoryError) else "ended its process: was it memory?"
        message = f"the largest configuration ({said}) {why}; its trials would end infeasible, lower one of these"
        raise Refused([Problem(message, key="--probe")], next="stsweep check SPEC --probe --set KEY=VALUE") from None
    return estimate(spec, at_once, largest, measured, _memory_bytes())


def estimate(
    spec: SweepSpec, at_once: int | None, largest: dict[str, Any], measured: Probed, memory_bytes: int
) -> Estimate:
    """The arithmetic of `probe`.

    Args:
        spec: The sweep.
        at_once: Trials at once; None when that is not known.
        largest: The knobs of the measured configuration.
        measured: What was measured of it.
        memory_bytes: What the machine has.
    """
    trials = trial_count(spec)
    # Several workers share a trial's work: as many times as fast, or a little less.
    ask = ask_of(spec.resources, spec.train.flatten() | largest)
    workers = ask.workers
    slots = None if at_once is None else min(at_once, trials) * workers
    sentence_seconds = max(
        measured.step_seconds / largest["optim.batch_size"], measured.small_step_seconds / measured.small_batch
    )
    longest = spec.train.budget.sentences * sentence_seconds
    ends = _rung_ends(spec, longest)
    one = longest + (len(ends) - 1) * measured.rung_seconds + measured.end_seconds
    expected = _expected_seconds(spec, trials, ends, measured)
    most_worker_hours = trials * one / 3600
    wanted_hours = most_worker_hours if expected is None else expected / 3600
    ceiling = _most_worker_hours(spec, slots)
    worker_hours = min(wanted_hours, ceiling)
    notes = list(_memory_notes(ask, slots, measured, memory_bytes))
    if _on_other_device(spec, measured):
        notes.append("measured on the CPU, where torch found no GPU, and a trial asks one")
    if workers > 1:
        notes.append(f"measured on one worker; {workers} are taken to be {workers} times as fast")
    if slots is None:
        notes.append("measured on this machine, which may be slower or faster than the cluster's")
    if ceiling < wanted_hours:
        hours = f"{said_count(ceiling)} of the {said_count(wanted_hours)} worker hours"
        notes.append(f"`stop` ends the sweep after {hours} of all trials")
    return Estimate(
        largest=largest,
        measured=measured,
        worker_hours=worker_hours,
        most_worker_hours=min(most_worker_hours, ceiling),
        hours=None if slots is None else _hours(spec, wanted_hours, ceiling, slots, one / workers / 3600),
        cost=_cost(spec, worker_hours),
        most_cost=_cost(spec, min(most_worker_hours, ceiling)),
        notes=tuple(notes),
    )


def check_cost_asked(
    spec: SweepSpec,
    max_cost: float | None,
    command: str = "stsweep check SPEC",
    *,
    probed: bool,
    address: str | None = None,
) -> None:
    """Refuse a `--max-cost` that cannot be judged.

    Args:
        spec: The sweep.
        max_cost: The `--max-cost`; None when none was given.
        command: What was typed; of an option given twice the last counts.
        probed: Whether `--probe` is given.
        address: A Ray cluster, which nothing here measures.

    Raises:
        Refused: It is no sum of money, or the price or a measurement where the sweep runs is missing; all that is.
    """
    if max_cost is None:
        return
    problems, missing = [], ""
    if not 0 < max_cost < float("inf"):
        problems.append(Problem(f"{max_cost:g} is not allowed; give a number above 0", key="--max-cost"))
        missing += " --max-cost COST"
    if spec.resources.cost_per_hour is None:
        message = "missing, and --max-cost needs it; give what one trial's resources cost an hour"
        problems.append(Problem(message, key="resources.cost_per_hour"))
        missing += " --set resources.cost_per_hour=PRICE"
    if not probed:
        problems.append(Problem("needs --probe, which measures how long the sweep takes", key="--max-cost"))
        missing += " --probe"
    if address is not None:
        message = f"--probe measures this machine, whose hours say nothing of the cost on the cluster {address}"
        problems.append(Problem(f"{message}; leave --max-cost out, or measure on a machine of it", key="--max-cost"))
        missing += ", on such a machine, without --address and RAY_ADDRESS"
    if problems:
        raise Refused(problems, next=command + missing)


def check_cost(
    spec: SweepSpec, found: Estimate, max_cost: float | None, command: str = "stsweep check SPEC --probe"
) -> None:
    """Refuse a sweep that is expected to cost more.

    Args:
        spec: The sweep.
        found: What `probe` found.
        max_cost: The `--max-cost`; None when none was given.
        command: What was typed; of a `--set` given twice the last counts.

    Raises:
        Refused: The estimated cost is above `max_cost`, or was measured on another device than a trial asks.
    """
    if max_cost is not None and _on_other_device(spec, found.measured):
        message = "a trial asks a GPU and the steps were measured on the CPU, which says nothing of the cost"
        raise Refused([Problem(message, key="--max-cost")], next=f"{command}, where torch finds a GPU")
    if max_cost is None or found.cost is None or found.cost <= max_cost:
        return
    message = (
        f"about {found.cost:.2f} is the estimated cost ({said_count(found.worker_hours)} worker hours), "
        f"above {max_cost:g}; lower trials or budget.sentences, or let the sweep end at a cost: stop.cost"
    )
    raise Refused([Problem(message, key="--max-cost")], next=f"{command} --set stop.cost={max_cost}")


def _on_other_device(spec: SweepSpec, measured: Probed) -> bool:
    return any(ask.gpus > 0 for ask in asks_of(spec.resources).values()) and measured.device == "cpu"


def _rung_ends(spec: SweepSpec, longest: float) -> tuple[float, ...]:
    """Seconds of training at each rung of the measured configuration; the last is the budget's end, `longest`."""
    if spec.scheduler.axis == "seconds":
        return (*(milestone for milestone in milestones(spec) if milestone < longest), longest)
    budget = spec.train.budget.sentences
    return tuple(longest * rung / budget for rung in rungs(spec))


def _expected_seconds(spec: SweepSpec, trials: int, ends: tuple[float, ...], measured: Probed) -> float | None:
    """Training and evaluations of all trials; None when nobody knows how many are stopped."""
    there = reaching(spec, trials, len(ends))
    training = expected_total(ends, there)
    if training is None:
        return None
    *early, last = (count or 0.0 for count in there)
    return training + sum(early) * measured.rung_seconds + last * measured.end_seconds


def _cost(spec: SweepSpec, worker_hours: float) -> float | None:
    """What they cost, and not above `stop.cost` by a rounding: the hours may be that divided by the price."""
    price = spec.resources.cost_per_hour
    return None if price is None else min(worker_hours * price, spec.stop.cost or float("inf"))


def _hours(spec: SweepSpec, wanted: float, ceiling: float, slots: int, one: float) -> float:
    """Hours from start to end: however many trials run at once, as long as one that reaches the end of its budget."""
    hours = ceiling / slots if ceiling < wanted else max(wanted / slots, one)
    return min(hours, spec.stop.wall_hours or hours)


def _most_worker_hours(spec: SweepSpec, slots: int | None) -> float:
    """What `stop` allows all trials together."""
    stop, price = spec.stop, spec.resources.cost_per_hour
    allowed = [stop.worker_hours]
    if stop.cost is not None and price is not None:
        allowed.append(stop.cost / price)
    if stop.wall_hours is not None and slots is not None:
        allowed.append(stop.wall_hours * slots)
    return min((hours for hours in allowed if hours is not None), default=float("inf"))


def _memory_notes(ask: Ask, slots: int | None, measured: Probed, memory_bytes: int) -> Iterator[str]:
    if slots is not None and slots * measured.resident_bytes > memory_bytes:
        yield _short_of_memory(slots, measured.resident_bytes, memory_bytes, "this machine has")
    if measured.gpu_bytes is not None and measured.gpu_total_bytes is not None and ask.gpus > 0:
        sharing = min(slots or 1, int(1 / ask.gpus)) if ask.gpus < 1 else 1
        if sharing * measured.gpu_bytes > measured.gpu_total_bytes:
            yield _short_of_memory(sharing, measured.gpu_bytes, measured.gpu_total_bytes, "a GPU has")


def _short_of_memory(trials: int, each: int, there: int, whose: str) -> str:
    return (
        f"{trials} of the largest trials at once take {said_bytes(trials * each)} and {whose} {said_bytes(there)}, "
        f"enough for {there // each}: set resources.concurrent, or expect them to end infeasible or be killed"
    )


def _memory_bytes() -> int:
    """Memory of this machine, or of the container that the process is in."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.exists() else "max"
    return there if limit == "max" else min(there, int(limit))
