"""The same light trials on more and more slots, in real Ray: how much of the slots' time the platform leaves.

    python benchmarks/scaling.py [--trials 24] [--slots 1 2 4] [--seconds 3]
    python benchmarks/scaling.py --trials 64 --slots 64 --seconds 150      (64 trials at once)

A trial trains nothing: it sleeps, writes a row at each of three rungs and reports it, so that two cores are enough for
any number of slots. All else is a real sweep's: our driver, searcher, scheduler and record, Tune, one actor a slot. The
first trial's start to the last one's end is timed; Ray's start and what is prepared once are not in it. Linear is the
time of one slot ÷ the number of slots.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sweep.driver as driver
from sweep.record import Record
from sweep.resources import cpus_here
from sweep.signals import Signals
from sweep.spec.sweep_spec import SweepSpec, load_spec, rungs
from sweep.trial import Job, job_of

_SPEC = """\
name: light
train: {{optim: {{batch_size: 16}}, budget: {{sentences: 256}}}}
search:
  optim.learning_rate: {{low: 1e-5, high: 1e-2, log: true}}
sampler: {{name: random}}
scheduler: {{name: none, grace: 64, reduction_factor: 2}}
objective: {{task: demo, split: dev}}
trials: {trials}
resources: {{cpus_per_worker: {cpus}, concurrent: {slots}}}
"""


def light_trial(seconds: float) -> Callable[..., None]:
    """A stand-in for `sweep.trial.run_trial` that sleeps so long in all."""

    def run(
        job: Job,
        folder: Path,
        knobs: Mapping[str, Any],
        report: Callable[[dict[str, Any]], None],
        *,
        number: int | None = None,
    ) -> None:
        import time

        from sweep.attempt import REPORTED
        from sweep.trial_record import Row, RowLog

        started = time.time()
        for index, rung in enumerate(job.rungs):
            time.sleep(seconds / len(job.rungs))
            now = time.time()
            row = Row(
                rung_index=index,
                rung=rung,
                step=rung // 16,
                sentences=rung,
                score=float(knobs["optim.learning_rate"]),
                failure=None,
                loss=None,
                precision="none",
                score_precision=None,
                train_seconds=now - started,
                busy_seconds=now - started,
                started=started,
                time=now,
                is_end=index == len(job.rungs) - 1,
            )
            RowLog(folder).append(row)
            report({name: getattr(row, name) for name in REPORTED})

    return run


def measure(trials: int, slots: int, seconds: float) -> dict[str, float]:
    """Seconds from the first trial's start to the last one's end, and the most that ran at the same moment."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "light.yaml"
        file.write_text(_SPEC.format(trials=trials, slots=slots, cpus=cpus_here() / slots), encoding="utf-8")
        record = new_record(load_spec(file), Path(folder))
        _drive(load_spec(file), record, seconds)
        ended = record.trials()
        record.release()
    assert all(trial.state == "completed" for trial in ended) and len(ended) == trials
    spans = [(trial.rows[0].started, trial.rows[-1].time) for trial in ended]
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return {
        "slots": slots,
        "seconds": max(end for _, end in spans) - min(start for start, _ in spans),
        "most_at_once": max(itertools.accumulate(change for _, change in changes)),
    }


def new_record(spec: SweepSpec, folder: Path) -> Record:
    """The record of a new sweep, on the disk of a folder, driven by this process."""
    about = {
        "objective": "none",
        "rungs": list(rungs(spec)),
        "searched": list(spec.searched),
        "trials": spec.trials,
        "spec": spec.model_dump(mode="json"),
        "spec_hash": "",
        "command": "benchmark",
    }
    return Record.create(folder / "sweeps", spec.name, spec.to_yaml(), about)


def _drive(spec: SweepSpec, record: Record, seconds: float) -> None:
    driver.run_trial = light_trial(seconds)
    with Signals() as signals, driver.ray_session(None, record.folder / "code") as cluster:
        driver.run_trials(spec, record, job_of(spec, pause=record.pause_file.resolve()), cluster, signals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    found = []
    for slots in arguments.slots:
        begin = time.monotonic()
        found.append(measure(arguments.trials, slots, arguments.seconds))
        ideal = arguments.trials * arguments.seconds / slots
        found[-1]["of_linear"] = found[0]["seconds"] * found[0]["slots"] / (slots * found[-1]["seconds"])
        found[-1]["of_ideal"] = ideal / found[-1]["seconds"]
        found[-1]["with_ray"] = time.monotonic() - begin
        print(json.dumps(found[-1]), flush=True)


if __name__ == "__main__":
    main()
