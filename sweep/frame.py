"""A sweep as one pandas table: a row a trial, a column a knob, for notebooks, `stsweep compare` and CSV."""

from __future__ import annotations

import pandas as pd

from sweep.record import Record


def trials_frame(record: Record) -> pd.DataFrame:
    """One row a trial, best first.

    Columns: `state`, `rung` (nominal sentences of the last row), `sentences`, `score` (×100), `train_seconds`, then
    `size_mb` or `latency_ms` where the objective has it, then every searched knob, empty where a trial was not asked
    it. The index is the trial's number.
    """
    from sweep.table import SECOND, by_score

    trials = by_score(record.trials())
    against = record.about.get("against")
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
        if against:
            outcome[SECOND[against]] = getattr(last, SECOND[against], None)
        rows.append(outcome | trial.point)
    return pd.DataFrame(rows, index=pd.Index([trial.number for trial in trials], name="trial"))
