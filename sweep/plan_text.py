"""What `stsweep check` says of a sweep that has not begun, as text for a person and as plain data for `--json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sweep.footprint import said_bytes
from sweep.forecast import said_count

if TYPE_CHECKING:
    from sweep.footprint import Disk
    from sweep.probe import Estimate
    from sweep.spec.check import Plan

_MILESTONES = 3
"""Named in the text; the others follow by the same factor."""
_LIMITS = {
    "target": "a completed trial scores {:g}",
    "plateau_trials": "{:g} trials in a row are no better",
    "plateau_gain": "better means by {:g} points",
    "wall_hours": "{:g} hours have gone by",
    "worker_hours": "its trials have run {:g} hours together",
    "cost": "it has cost {:g}",
}
"""Key of `stop` → what it says, after "the sweep ends early when"."""


def plan_json(plan: Plan, estimate: Estimate | None = None) -> dict[str, Any]:
    """A plan as plain data, with what was measured under `estimate`, null without `--probe`."""
    return asdict(plan) | {"estimate": None if estimate is None else asdict(estimate)}


def plan_text(plan: Plan, estimate: Estimate | None = None) -> str:
    """What a sweep will do, for a person."""
    layers = ", ".join(f"{name} ({count} layers)" if count else name for name, count in plan.layers.items())
    fitting = "as many as fit" if plan.most_at_once is None else f"as many as fit, at most {plan.most_at_once},"
    lines = [
        f"{plan.trials} trials of {layers}; {plan.at_once or fitting} at once",
        *(f"{'a trial' if key == 'resources' else key} takes {ask}" for key, ask in plan.takes.items()),
        f"searched: {', '.join(plan.searched) or 'nothing'}",
        f"corpus {plan.corpus_sentences:,} sentences; objective {plan.pairs:,} pairs",
        *_rungs(plan),
        _sentences(plan),
        f"disk: {_disk(plan.disk)}; to the workers: {said_bytes(plan.upload_bytes)} of code",
    ]
    if plan.limits:
        said = (_LIMITS[key].format(value) for key, value in plan.limits.items())
        lines.append(f"the sweep ends early when {'; '.join(said)}")
    notes = plan.notes
    if estimate is not None:
        lines += _estimate(estimate)
        notes += estimate.notes
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _rungs(plan: Plan) -> Iterator[str]:
    if plan.milestones:
        first = ", ".join(f"{seconds:g}" for seconds in plan.milestones[:_MILESTONES])
        yield f"trials are scored after {first}, … s of training, and at the end of the budget"
        return
    rungs = (f"{rung.sentences:,} ({'?' if rung.trials is None else said_count(rung.trials)})" for rung in plan.rungs)
    yield f"rungs (sentences seen, trials expected there): {', '.join(rungs)}"
    if any(rung.trials not in (None, plan.trials) for rung in plan.rungs):
        yield "  expected if scores are random; a sampler that learns lets more pass"


def _sentences(plan: Plan) -> str:
    most = f"{plan.most_sentences:,} if nothing is stopped"
    if plan.expected_sentences is None:
        return f"sentences trained on: at most {most}; how many trials are stopped depends on their scores"
    share = plan.expected_sentences / plan.most_sentences
    return f"sentences trained on: about {plan.expected_sentences:,} expected, {share:.0%} of the {most}"


def _disk(disk: Disk) -> str:
    if disk.encoder is None or disk.trial is None:
        said = f"{said_bytes(disk.code)} of code, and weights whose size is not known here"
    else:
        said = (
            f"{disk.encoders} encoders of {said_bytes(disk.encoder)}, checkpoints of at most "
            f"{said_bytes(disk.trial)} for each trial that runs"
        )
    if disk.peak is not None:
        said = f"at most {said_bytes(disk.peak)} ({said})"
    return said if disk.free is None else f"{said}; {said_bytes(disk.free)} free"


def _estimate(estimate: Estimate) -> Iterator[str]:
    measured = estimate.measured
    batch = estimate.largest["optim.batch_size"]
    memory = f"{said_bytes(measured.resident_bytes)} of memory"
    if measured.gpu_bytes is not None:
        memory += f", {said_bytes(measured.gpu_bytes)} of the GPU's"
    knobs = ", ".join(f"{knob} {_value(value)}" for knob, value in estimate.largest.items())
    threads = "1 thread" if measured.threads == 1 else f"{measured.threads} threads"
    yield f"measured on {measured.device} with {threads}, the largest configuration ({knobs}):"
    yield (
        f"  {_step(batch, measured.step_seconds)}, "
        f"{measured.rung_seconds:.3g} s an evaluation ({measured.end_seconds:.3g} s the last), {memory}"
    )
    if measured.small_batch < batch:
        yield f"  in batches of {measured.small_batch}: {_step(measured.small_batch, measured.small_step_seconds)}"
    yield "  one trial alone; trials at once share the memory's bandwidth, and each may be slower"
    wall = "" if estimate.hours is None else f"{_hours(estimate.hours)} from start to end, "
    yield (
        f"an estimate, as if every trial were as slow as the slowest measured: {wall}{_hours(estimate.worker_hours)} "
        f"of all trials together ({_hours(estimate.most_worker_hours)} if nothing is stopped)"
    )
    if estimate.cost is not None:
        yield f"cost: about {estimate.cost:.2f} ({estimate.most_cost:.2f} if nothing is stopped)"


def _step(batch: int, seconds: float) -> str:
    return f"{seconds:.3g} s a step ({batch / seconds:,.0f} sentences/s)"


def _hours(hours: float) -> str:
    """Hours for a person; minutes or seconds where they are few."""
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 30 else f"{3600 * hours:.0f} s"


def _value(value: object) -> str:
    return "all" if value is None else str(value)  # `encoder.keep_layers` is the one that may be left open
