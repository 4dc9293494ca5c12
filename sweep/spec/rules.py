"""Rules over several settings of a spec. Each is left out when a setting that it reads is at fault already."""

from __future__ import annotations

import math
import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from evaluation.tasks import HELD_OUT, TASKS
from sweep.errors import nearest
from sweep.resources import ask_of, asks_of
from sweep.spec.distribution import Range, Value, each_value, ends
from sweep.spec.fields import Findings, show
from sweep.spec.knobs import KNOBS, is_number, value_of
from sweep.spec.search import points
from sweep.spec.sections import Bounds, Case
from sweep.spec.yaml_file import KeyPath

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_BUDGET = ("train", "budget", "sentences")
_BATCH = "optim.batch_size"
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""Schemes of `tracking_uri`, as MLflow 3.17 registers them (mlflow/tracking/_tracking_service/utils.py); not folders,
which it refuses unless MLFLOW_ALLOW_FILE_STORE is set. An installed plugin may add one."""
_MOST_RUNGS = 50
"""With the budget's end; a factor near 1 makes millions, each with an evaluation."""


def apply_rules(spec: SweepSpec, findings: Findings) -> bool:
    """Add what is wrong with `spec` to `findings`; `search` has been checked on its own.

    Returns:
        Whether the rungs can be listed; a factor near 1 makes millions.
    """
    _objective(spec, findings)
    _trials(spec, findings)
    _gpus(spec, findings)
    _cases(spec, findings)
    _workers(spec, findings)
    _batch(spec, findings)
    _points(spec, findings)
    _tracking(spec, findings)
    return _rungs(spec, findings)


def _objective(spec: SweepSpec, findings: Findings) -> None:
    task, split = spec.objective.task, spec.objective.split
    if not findings.intact(("objective", "task")):
        return
    if task not in TASKS:
        findings.add(
            ("objective", "task"), f"{show(task)} is no task; give one of {', '.join(TASKS)}{nearest(task, TASKS)}"
        )
        return
    choosable = [name for name in TASKS[task].splits if name not in HELD_OUT]
    if not findings.intact(("objective", "split")) or split in choosable:
        return
    if not choosable:
        message = f"{task} has only a test split, opened once, after the choice; choose on stsb dev or sickr dev"
        findings.add(("objective", "task"), message)
    elif split in HELD_OUT:
        why = "a test split is opened once, after the choice (stsweep eval --sweep NAME)"
        findings.add(("objective", "split"), f"{why}; choose on {' or '.join(choosable)}")
    else:
        message = f"{show(split)} is no split of {task}; give {' or '.join(choosable)}{nearest(split, choosable)}"
        findings.add(("objective", "split"), message)


def _trials(spec: SweepSpec, findings: Findings) -> None:
    if not findings.intact(("trials",), ("sampler", "name")):
        return
    if spec.sampler.name != "grid":
        if spec.trials is None:
            findings.add(("trials",), "missing; give the number of trials, a whole number from 1")
    elif spec.trials is not None and findings.intact(("search",), ("train",)):
        count = len(points(spec.grids, spec.train))
        if spec.trials != count:
            findings.add(
                ("trials",), f"{spec.trials} is not the number of points of this grid, {count}; leave trials out"
            )


def _gpus(spec: SweepSpec, findings: Findings) -> None:
    for place, ask in enumerate(asks_of(spec.resources).values(), start=-1):
        of: KeyPath = ("resources",) if place < 0 else ("resources", "cases", place)
        path = (*of, "gpus_per_worker")
        if not findings.intact(of if place >= 0 else path, (*of, "workers")):
            continue
        if ask.gpus > 1 and ask.gpus != int(ask.gpus):
            findings.add(path, f"{ask.gpus:g} is not allowed; give a whole number, or a fraction below 1")
        elif ask.workers > 1 and ask.gpus != int(ask.gpus):
            message = f"{ask.gpus:g} is not allowed with {ask.workers} workers; give whole GPUs"
            findings.add(path, f"{message} (NCCL takes no two ranks on one card), or one worker")


def _cases(spec: SweepSpec, findings: Findings) -> None:
    for place, case in enumerate(spec.resources.cases):
        path = ("resources", "cases", place)
        if not findings.intact((*path, "when")):
            continue
        if not case.said and findings.intact(path):
            findings.add(path, "changes nothing; give workers, cpus_per_worker or gpus_per_worker")
        for knob, values in case.when.items():
            _case_knob((*path, "when", knob), knob, values, findings)
        if findings.intact((*path, "when"), ("search",), ("train",)) and not _may_hold(spec, case):
            findings.notes.append(f"resources.cases[{place}] holds for no trial of this sweep")


def _case_knob(path: KeyPath, knob: str, values: Bounds | tuple[Value, ...], findings: Findings) -> None:
    if knob not in KNOBS:
        findings.add(path, f"{show(knob)} is no knob{nearest(knob, KNOBS)}")
    elif values == ():
        findings.add(path, "no value; give one or more in a list, or low, high or both")
    elif isinstance(values, tuple):
        for value in values:
            try:
                if (plain := value_of(knob, value)) != value:
                    findings.add(path, f"{show(value)} is written {show(plain)} here")
            except ValueError as error:
                findings.add(path, str(error))
    elif not is_number(knob):
        findings.add(path, f"{knob} is no number and has no bounds; give its values in a list")
    elif values.low is None and values.high is None:
        findings.add(path, "has no bound; give low, high or both")
    elif values.low is not None and values.high is not None and values.low > values.high:
        findings.add(path, f"low, {values.low:g}, is above high, {values.high:g}")


def _may_hold(spec: SweepSpec, case: Case) -> bool:
    """Whether each of a case's knobs has in some trial a value that it names."""
    usual = spec.train.flatten()
    for knob, values in case.when.items():
        alone = case.model_copy(update={"when": {knob: values}})
        has_it = any(alone.holds({knob: value}) for value in each_value(spec.grids, knob, usual[knob]))
        drawn = [grid[knob] for grid in spec.grids if knob in grid]
        if not has_it and not any(_meets(values, each) for each in drawn if isinstance(each, Range)):
            return False
    return True


def _meets(values: Bounds | tuple[Value, ...], drawn: Range) -> bool:
    if isinstance(values, tuple):
        return any(isinstance(value, int | float) and drawn.low <= value <= drawn.high for value in values)
    return (values.low is None or values.low <= drawn.high) and (values.high is None or drawn.low <= values.high)


def _workers(spec: SweepSpec, findings: Findings) -> None:
    """A worker without a sentence; by the batch alone, with the other knobs as in `train`."""
    if not findings.intact(("train",), ("search",), ("resources",)):
        return
    usual, told = spec.train.flatten(), set[KeyPath]()
    for batch in sorted(_batches(spec)):
        knobs = usual | {_BATCH: batch}
        holding = [place for place, case in enumerate(spec.resources.cases) if case.holds(knobs)]
        at: KeyPath = ("resources", "cases", holding[-1]) if holding else ("resources",)
        workers = ask_of(spec.resources, knobs).workers
        if workers > batch and at not in told:
            told.add(at)
            message = f"{workers} workers share a batch, and the smallest has {batch} sentences; give at most {batch}"
            findings.add((*at, "workers"), message)


def _batches(spec: SweepSpec) -> set[int]:
    """Sizes of a batch in the sweep: its choices, or the ends of its range and of each case within."""
    found = set(each_value(spec.grids, _BATCH, spec.train.optim.batch_size))
    largest = max(found)
    for grid in spec.grids:
        drawn = grid.get(_BATCH)
        if isinstance(drawn, Range):
            bounds = [case.when.get(_BATCH) for case in spec.resources.cases]
            lows = [math.ceil(each.low) for each in bounds if isinstance(each, Bounds) and each.low is not None]
            steps = [-(-(low - drawn.low) // (drawn.step or 1)) for low in lows]
            found |= {int(drawn.low + step * (drawn.step or 1)) for step in steps if step > 0}
    return {size for size in found if size <= largest}


def _batch(spec: SweepSpec, findings: Findings) -> None:
    budget, usual = spec.train.budget.sentences, spec.train.optim.batch_size
    if not findings.intact(_BUDGET, ("train", "optim", "batch_size"), ("search",)):
        return
    largest = max(each_value(spec.grids, _BATCH, usual))
    if largest <= budget:
        return
    path: tuple[str | int, ...] = ("train", "optim", "batch_size")
    for place, grid in enumerate(spec.grids):
        if _BATCH in grid and largest in [value for _, value in ends(grid[_BATCH])]:
            key = "high" if isinstance(grid[_BATCH], Range) else "choices"
            path = ("search", *((place,) if isinstance(spec.search, tuple) else ()), _BATCH, key)
    findings.add(path, f"a batch of {largest} is more than budget.sentences, {budget}; give at most that")


def _points(spec: SweepSpec, findings: Findings) -> None:
    if spec.trials is None or not findings.intact(("points",), ("trials",), ("search",)):
        return
    if len(spec.points) > spec.trials:
        message = f"{len(spec.points)} points are more than trials, {spec.trials}; give at most that, or more trials"
        findings.add(("points",), message)


def _tracking(spec: SweepSpec, findings: Findings) -> None:
    uri = spec.tracking_uri
    if not uri or not findings.intact(("tracking_uri",)) or os.environ.get("MLFLOW_ALLOW_FILE_STORE"):
        return
    scheme = uri.partition(":")[0].partition("+")[0].lower()  # alone in the message: the rest may hold a password
    if scheme not in (*STORES, *entry_points(group="mlflow.tracking_store").names):
        message = f"{show(scheme)} is no store that MLflow writes to; give http://HOST:PORT, sqlite:///FILE"
        findings.add(("tracking_uri",), f"{message}, or one of {', '.join(STORES)}{nearest(scheme, STORES)}")


def _rungs(spec: SweepSpec, findings: Findings) -> bool:
    scheduler, budget = spec.scheduler, spec.train.budget.sentences
    grace, factor = scheduler.grace, scheduler.reduction_factor
    if scheduler.axis != "sentences" or grace is None or math.ceil(grace * factor ** (_MOST_RUNGS - 1)) >= budget:
        return True
    if findings.intact(("scheduler",), _BUDGET):
        fitting = math.ceil(100 * (budget / grace) ** (1 / (_MOST_RUNGS - 1))) / 100
        message = f"{factor} makes more than {_MOST_RUNGS} rungs from {grace} to {budget} sentences"
        findings.add(("scheduler", "reduction_factor"), f"{message}; give {fitting:g} or more, or a higher grace")
    return False
