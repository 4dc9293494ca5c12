"""Warm start: what earlier sweeps of the same objective found, told to the study before its first trial.

A copy of those trials is kept in the new record (`warm_start.json`), so that it can be resumed when the earlier sweeps
are gone or have grown. They take the study's first numbers; the sweep's own trials are counted after them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import Problem, Refused
from sweep.record import Record
from sweep.spec.space import active, distributions
from sweep.spec.sweep_spec import SweepSpec, milestones, rungs
from sweep.trial_record import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_CORPUS = "data.corpus"


@dataclass(frozen=True)
class Earlier:
    """What is taken over from earlier sweeps.

    Attributes:
        trials: as the record keeps them.
        notes: what a person should know: how many were taken, what differs.
    """

    trials: list[dict[str, Any]]
    notes: tuple[str, ...]


def find_earlier(spec: SweepSpec, root: Path) -> Earlier:
    """The ended trials of the sweeps that `sampler.warm_start` names, as far as they lie in this sweep's space.

    A trial that differs in a knob which is not searched here, or not asked at its point, is another training, and is
    left out; so is one with a value outside this space, searched there or not: TPE and GP model whole points, and what
    has a part of one is counted and not learnt from. Seeds and data folders may differ; another corpus is taken with a
    note.

    Raises:
        Refused: a sweep is not there, was scored by something else, shares no knob, or has no trial that lies in
            this space; all of them at once.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    taken: list[dict[str, Any]] = []
    if not spec.sampler.warm_start:
        return Earlier([], ())  # without Optuna, which takes a second to load
    space = distributions(spec)
    for name in spec.sampler.warm_start:
        try:
            record = Record.open(root, name)
        except Refused as refused:
            problems += [Problem(problem.message, key="sampler.warm_start") for problem in refused.problems]
            continue
        about = record.about
        if reasons := list(_incompatible(record, spec)):
            problems += [Problem(f"{name}: {reason}", key="sampler.warm_start") for reason in reasons]
            continue
        ended = [trial for trial in record.trials() if trial.ended is not None and trial.state != "errored"]
        same_rungs = _scored_at(about) == (spec.scheduler.axis, list(rungs(spec)), list(milestones(spec)))
        if any(trial.config.get(_CORPUS) != spec.train.flatten()[_CORPUS] for trial in ended):
            notes.append(f"warm start: {name} trained on another corpus; its scores are taken all the same")
        fitting = [found for trial in ended if (found := _fit(trial, spec, space, same_rungs)) is not None]
        if ended and not fitting:
            differs = ", ".join(sorted(_differing(ended, spec, space))) or "the rungs"
            message = f"{name}: none of its {len(ended)} ended trials lies in this space; they differ in {differs}"
            problems.append(Problem(message, key="sampler.warm_start"))
        notes.append(f"warm start: {len(fitting)} of {len(ended)} ended trials of {name} lie in this space")
        taken += fitting
    if problems:
        raise Refused(problems, next="stsweep check SPEC --set sampler.warm_start=[]")
    if taken:
        notes.append(f"warm start: theirs have the first numbers, this sweep's own trials begin at {len(taken):04d}")
    return Earlier(taken, tuple(notes))


def _scored_at(about: Mapping[str, Any]) -> tuple[str, list[int], list[float]]:
    """Where the trials of a record were scored: axis, sentences, seconds."""
    axis = about.get("axis", "sentences")
    seconds = list(milestones(SweepSpec.model_validate(about["spec"]))) if axis == "seconds" else []
    return axis, about["rungs"], seconds


def _incompatible(record: Record, spec: SweepSpec) -> Any:
    objective = f"{spec.objective.task} {spec.objective.split} {spec.objective.metric}"
    about = record.about
    if spec.objective.against is not None:
        yield "a warm start knows one score; leave objective.against out"
    if about["objective"] != objective:
        yield f"was scored by {about['objective']}, this sweep by {objective}: their scores do not compare"
    if about["rungs"][-1:] != [spec.train.budget.sentences]:
        yield f"trained {about['rungs'][-1]} sentences, this sweep {spec.train.budget.sentences}: they do not compare"
    if not set(about["searched"]) & set(spec.searched):
        here = f"none of {', '.join(spec.searched)}" if spec.searched else "and this sweep searches nothing"
        yield f"searched {', '.join(about['searched']) or 'nothing'}, {here}"


def _fit(
    trial: Trial, spec: SweepSpec, space: Mapping[str, BaseDistribution], same_rungs: bool
) -> dict[str, Any] | None:
    """A trial as its point in this space and how it ended; None where it was another training or lies outside.

    Scores at other rungs do not compare, so of other rungs only completed trials are taken, with their last score.
    """
    if not same_rungs and trial.state != "completed":
        return None
    # A knob that it did not search has the value of its configuration, which may lie in this space too.
    point = {knob: trial.config[knob] for knob in space if knob in trial.config}
    asked = set(active(spec, point))
    point = {knob: value for knob, value in point.items() if knob in asked}  # as an own trial has it
    outside = {knob for knob, value in point.items() if not _contains(space[knob], value)}
    if outside or _other_training(trial, spec, asked):
        return None
    rows = trial.rows if same_rungs else trial.rows[-1:]
    return {
        "point": point,
        "state": trial.state,
        "scores": {str(row.rung_index): row.score for row in rows},
    }


def _other_training(trial: Trial, spec: SweepSpec, asked: Container[str]) -> set[str]:
    """The knobs that are not asked here and have another value there."""
    fixed = spec.train.flatten()
    return {
        knob
        for knob, value in trial.config.items()
        if knob not in asked and knob.partition(".")[0] not in ("data", "seed") and fixed.get(knob) != value
    }


def _differing(trials: list[Trial], spec: SweepSpec, space: Mapping[str, BaseDistribution]) -> set[str]:
    """The knobs for which some trial was left out."""
    found: set[str] = set()
    for trial in trials:
        found |= _other_training(trial, spec, active(spec, trial.config))
        found |= {knob for knob, value in trial.config.items() if knob in space and not _contains(space[knob], value)}
    return found


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def as_trial(told: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """An earlier trial as Optuna takes it."""
    from optuna.trial import TrialState, create_trial

    scores = {int(step): score for step, score in told["scores"].items()}
    completed = told["state"] == "completed"
    last = scores[max(scores)] if scores else None
    return create_trial(
        state=TrialState.COMPLETE if completed else TrialState.PRUNED,
        value=last,
        params=dict(told["point"]),
        distributions={knob: space[knob] for knob in told["point"]},
        intermediate_values=scores,
        constraints=None if completed else {"has_score": 0.0 if told["state"] == "stopped" else 1.0},
    )
