"""A sweep as one pandas table: a row a trial, a column a knob, for notebooks, `stsweep compare` and CSV."""

from __future__ import annotations

import pandas as pd

from sweep.record import Record


def trials_frame(record: Record) -> pd.DataFrame:
    """One row a trial, best first.

    Columns: `state`, `rung` (nominal sentences of the last row), `sentences`, `score` (×100), `train_seconds`, then
    every searched knob. The index is the trial's number.
    """
    from sweep.table import by_score

    trials = by_score(record.trials())
    searched = {name for trial in trials for name in trial.point}
    rows = []
    for trial in trials:
        last = trial.rows[-1] if trial.rows else None
        outcome = {
            "state": trial.state,
            "rung": last.rung if last else None,
            "sentences": last.sentences if last else None,
            "score": trial.score,
            "train_seconds": last.train_seconds if last else None,
        }
        rows.append(outcome | {name: value for name, value in trial.config.items() if name in searched})
    return pd.DataFrame(rows, index=pd.Index([trial.number for trial in trials], name="trial"))
