"""The bridge between Ray Tune and Optuna: the only writer of the study, and the only judge of a trial's final state.

Ray's own OptunaSearch tells COMPLETE whenever a metric exists, so that a trial which ASHA stopped at its first rung
becomes `study.best_trial`; and it leaves a trial whose score is NaN RUNNING for ever. Here the state is read from the
trial's own rows: top rung reached → COMPLETE; stopped before → PRUNED at its last rung; no score (diverged, collapsed,
infeasible) → PRUNED with a violated constraint, which TPE ranks last (a FAIL would teach it nothing); error → FAIL.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from pydantic import ValidationError
from ray.tune.search import Searcher

from sweep.record import Record, Row, RowLog, TrialState
from sweep.spec.space import distributions, grid_points, trial_config, trial_count

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

METRIC = "score"
TIME_AXIS = "rung"


def create_study(spec: SweepSpec, folder: Path, name: str) -> optuna.Study:
    """The sweep's study, in its own file and under its own name (without one, all sweeps would share `optuna`)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name=name, direction="maximize", sampler=_sampler(spec)
    )
    if spec.sampler.name == "grid":
        for point in grid_points(spec):
            study.enqueue_trial(point)
    return study


def _sampler(spec: SweepSpec) -> optuna.samplers.BaseSampler:
    if spec.sampler.name == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=spec.sampler.startup_trials, seed=spec.sampler.seed)
    return optuna.samplers.RandomSampler(seed=spec.sampler.seed)  # also under `grid`, whose points are all enqueued


class OptunaBridge(Searcher):
    """Proposes trials by `study.ask` and tells the study how each ended. One object lives for one driver."""

    def __init__(self, spec: SweepSpec, record: Record, study: optuna.Study, top_rung: int) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._spec, self._record, self._study, self._top_rung = spec, record, study, top_rung
        self._left = trial_count(spec)
        self._space = distributions(spec)
        self._trials: dict[str, optuna.Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial's number and flat configuration, or FINISHED after the last.

        A point that breaks a rule over several knobs is infeasible at once, and the next one is asked for.
        """
        while self._left > 0:
            self._left -= 1
            trial = self._study.ask(self._space)
            try:
                config = trial_config(self._spec, trial.params).flatten()
            except ValidationError as error:
                self._record.add_trial(trial.number, dict(trial.params), self._spec.train.flatten() | trial.params)
                rules = (str(each.get("ctx", {}).get("error", each["msg"])) for each in error.errors())
                self._end(trial, (), "infeasible", "; ".join(rules))
                continue
            self._trials[trial_id] = trial
            self._record.add_trial(trial.number, dict(trial.params), config)
            return {"number": trial.number, "knobs": config}
        return Searcher.FINISHED  # type: ignore[return-value]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Decide the final state from the trial's rows, write it to the record, and tell the study."""
        trial = self._trials.pop(trial_id)
        folder = self._record.trial_folder(trial.number)
        rows = RowLog(folder).read()
        self._end(trial, rows, *self._judge(folder, rows, error))

    def _end(self, trial: optuna.Trial, rows: tuple[Row, ...], state: TrialState, reason: str | None) -> None:
        for row in rows:  # under the rung's index: TPE ranks pruned trials by step before score
            trial.report(row.score, step=row.rung_index)
        if state == "completed":
            self._study.tell(trial, rows[-1].score)
        elif state == "errored":
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            trial.set_constraint("has_score", 0.0 if state == "stopped" else 1.0)
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        self._record.end_trial(trial.number, state, reason)

    def _judge(self, folder: Path, rows: tuple[Row, ...], error: bool) -> tuple[TrialState, str | None]:
        failure = folder / "error.txt"
        reason = failure.read_text(encoding="utf-8").strip() if failure.exists() else None
        if rows and rows[-1].failure:
            return rows[-1].failure, reason  # type: ignore[return-value]
        if rows and rows[-1].rung >= self._top_rung:
            return "completed", None
        if error or not rows:
            return "errored", reason or "the worker process died; its log is under ray/ in the sweep's folder"
        return "stopped", None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record and the study are the truth, Ray's snapshot of the searcher is not."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher into a snapshot that stsweep never reads
