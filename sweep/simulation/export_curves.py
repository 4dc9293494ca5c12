"""A sweep whose trials all ran to the top, as the table that `RecordedWorld` reads.

python -m sweep.simulation.export_curves NAME OUT.csv [--root SWEEPS]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from sweep.errors import Problem, Refused
from sweep.files import write_whole
from sweep.record import Record
from sweep.root import DEFAULT_ROOT
from sweep.trial_record import Row, Trial

_WHOLE = ("completed", "diverged", "collapsed", "infeasible")
"""States of a trial that went as far as its configuration could."""

_IDLE = {"loss.temperature": ("loss.contrastive_weight", 0)}
"""Knob → another knob and the value at which the first does nothing."""


def curves_of(record: Record) -> pd.DataFrame:
    """The curves of a sweep: one row a cell and rung, knobs first, then sentences, score, seconds and failure.

    A knob that does nothing in a cell is left empty there.

    Raises:
        Refused: a trial of the sweep has not gone to its end.
    """
    searched, wanted = record.about["searched"], record.about["trials"]
    whole = [trial for trial in record.trials() if trial.state in _WHOLE]
    if missing := wanted - len(whole):
        problem = Problem(f"{missing} of {wanted} cells of {record.name!r} are missing: not run to their end")
        raise Refused([problem], next=f"stsweep resume {record.argument}")
    return pd.DataFrame([_cell(trial, searched) | _measured(row) for trial in whole for row in trial.rows])


def _cell(trial: Trial, searched: list[str]) -> dict[str, Any]:
    cell = {knob: trial.config[knob] for knob in searched}
    for knob, (other, value) in _IDLE.items():
        if knob in cell and trial.config.get(other) == value:
            cell[knob] = None
    return cell


def _measured(row: Row) -> dict[str, Any]:
    return {
        "sentences": row.rung,
        "score": round(row.score, 4),
        "seconds": round(row.busy_seconds, 3),
        "failure": row.failure,
    }


def main() -> None:
    """Read the command line and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    arguments = parser.parse_args()
    try:
        record = Record.open(arguments.root, arguments.name)
        curves = curves_of(record)
    except Refused as refused:
        print(f"export_curves: {refused}", file=sys.stderr)
        sys.exit(refused.exit_code)
    write_whole(arguments.out, curves.to_csv(index=False, lineterminator="\n"))
    print(f"{record.about['trials']} curves written to {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
