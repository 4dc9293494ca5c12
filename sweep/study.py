"""The sweep's Optuna study: derived from the record, so that the two cannot differ.

While a driver runs, the study is an append-only log beside the trials (`study.log`, Optuna's journal format, which
`optuna.load_study` and optuna-dashboard read). A driver that starts on an existing record writes that log anew from the
trials: what a killed one left of it, a torn last line (optuna#5138) or half a proposal, is not read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as Told

from sweep.feasible import Feasible
from sweep.samplers import PointSampler, point_key
from sweep.spec.space import active, distributions, grid_points, start_points
from sweep.warm_start import as_trial

if TYPE_CHECKING:
    from sweep.record import Record
    from sweep.spec.sweep_spec import SweepSpec
    from sweep.trial_record import Row, Trial

LOG = "study.log"
_STUDY_NOTES = "study"
_NO_SCORE = ("diverged", "collapsed", "infeasible")
_WORST_KNOWN = ("gp", "cmaes")
"""Samplers that learn from completed trials alone: a failure is told them as the worst score so far."""


class Study:
    """One sweep's study. The only writer of its log.

    Args:
        spec: the sweep's.
        record: locked by this process.
    """

    def __init__(self, spec: SweepSpec, record: Record) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._spec = spec
        self._seen: set[str] = set()
        self._worst: float | None = None
        self._distributions = distributions(spec)
        self._feasible = Feasible(self._distributions, fewest=spec.sampler.startup_trials)
        directions: list[Literal["maximize", "minimize"]] = ["maximize"]
        if spec.objective.against:
            directions.append("minimize")
        log = record.folder / LOG
        for old in (log, log.with_name(f"{LOG}.lock")):  # a killed driver leaves its lock, which holds 30 s
            old.unlink(missing_ok=True)
        self._storage: BaseStorage = JournalStorage(JournalFileBackend(str(log)))
        self.optuna = optuna.create_study(
            storage=self._storage,
            study_name=record.name,  # without one, all sweeps would share the name "optuna"
            directions=directions,
            sampler=PointSampler(spec, self._seen, self._feasible),
        )
        self._fill(record)

    def _fill(self, record: Record) -> None:
        for told in record.warm_start():
            self._add_earlier(told)
        trials = record.trials()
        by_end = sorted((trial for trial in trials if trial.ended is not None), key=lambda trial: trial.ended or 0.0)
        outcomes = {trial.number: self._outcome(trial) for trial in by_end}
        kept: dict[str, Any] = {}
        for trial in trials:
            notes = record.notes(trial.number)
            self.optuna.add_trial(self._as_told(trial, outcomes.get(trial.number, (Told.RUNNING, None)), notes))
            self._seen.add(point_key(trial.point))
            kept |= notes.get(_STUDY_NOTES, {})
        self._noted: Mapping[str, Any] = kept
        for key, value in kept.items():
            self._storage.set_study_system_attr(self.optuna._study_id, key, value)
        first = grid_points(self._spec) if self._spec.sampler.name == "grid" else start_points(self._spec)
        for point in first[len(trials) :]:
            self.optuna.enqueue_trial(point)

    def _add_earlier(self, told: Mapping[str, Any]) -> None:
        """A trial of an earlier sweep, told as an own one is."""
        trial = as_trial(told, self._distributions)
        is_scored = told["state"] not in _NO_SCORE
        self._feasible.add(told["point"], has_score=is_scored)
        if trial.value is not None and told["state"] == "completed":
            self._note_worst(trial.value)
        elif not is_scored and self._spec.sampler.name in _WORST_KNOWN and self._worst is not None:
            trial = create_trial(value=self._worst, params=trial.params, distributions=trial.distributions)
        self.optuna.add_trial(trial)

    def _note_worst(self, score: float) -> None:
        self._worst = score if self._worst is None else min(self._worst, score)

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """A new trial with its point sampled, and the notes that its sampler needs after a restart."""
        trial = self.optuna.ask()
        point: dict[str, Any] = {}
        for name in self._distributions:  # parents come before their children
            if name in active(self._spec, point):
                point[name] = _suggest(trial, name, self._distributions[name])
        self._seen.add(point_key(trial.params))
        notes = {"trial": self._storage.get_trial_system_attrs(trial._trial_id)}
        study = self._storage.get_study_system_attrs(self.optuna._study_id)
        if new := {key: value for key, value in study.items() if self._noted.get(key) != value}:
            notes[_STUDY_NOTES] = new
        self._noted = dict(study)
        return trial, notes

    def tell(self, trial: Trial) -> None:
        """Tell how a trial ended: its scores at the rungs, its state, and whether it had a score at all."""
        number = trial.number
        told = self._as_told(trial, self._outcome(trial), {})
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)
        for step, value in told.intermediate_values.items():
            self._storage.set_trial_intermediate_value(trial_id, step, value)
        for key, note in told.system_attrs.items():
            self._storage.set_trial_system_attr(trial_id, key, note)
        if told.state == Told.COMPLETE:
            self.optuna.tell(number, told.values)
        else:
            self.optuna.tell(number, state=told.state)

    def _as_told(self, trial: Trial, outcome: tuple[Told, list[float] | None], notes: Mapping[str, Any]) -> FrozenTrial:
        """A trial as Optuna sees it; see the module `sweep.searcher` for which state means what."""
        state, values = outcome
        single = len(self.optuna.directions) == 1
        return create_trial(
            state=state,
            values=values,
            params=trial.point,
            distributions={name: self._distributions[name] for name in trial.point},
            # Under the rung's index: TPE ranks pruned trials by step before score.
            intermediate_values={row.rung_index: row.score for row in trial.rows} if single else {},
            system_attrs=dict(notes.get("trial", {})),
            # Above 0 is infeasible, which TPE ranks last.
            constraints={"has_score": 0.0 if trial.state == "stopped" else 1.0} if state == Told.PRUNED else None,
        )

    def _outcome(self, trial: Trial) -> tuple[Told, list[float] | None]:
        """Of a trial that ended; in the order of their ends, for the worst score is the worst so far."""
        if trial.state != "errored":
            self._feasible.add(trial.point, has_score=trial.state not in _NO_SCORE)
        if trial.state == "errored":
            return Told.FAIL, None
        if trial.state == "completed":
            values = _values(trial.rows[-1], self._spec)
            self._note_worst(values[0])
            return Told.COMPLETE, values
        told_worst = self._spec.sampler.name in _WORST_KNOWN and len(self.optuna.directions) == 1
        if trial.state in _NO_SCORE and told_worst and self._worst is not None:
            return Told.COMPLETE, [self._worst]
        return Told.PRUNED, None if len(self.optuna.directions) > 1 else _last_score(trial)


def _last_score(trial: Trial) -> list[float] | None:
    return [trial.rows[-1].score] if trial.rows else None


def _values(row: Row, spec: SweepSpec) -> list[float]:
    if spec.objective.against is None:
        return [row.score]
    other = row.size_mb if spec.objective.against == "size" else row.latency_ms
    assert other is not None, "the trial measures what the objective asks at the end of its budget"
    return [row.score, other]


def _suggest(trial: optuna.Trial, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    suggest: Any = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
