"""`stsweep run`: check, make the record, drive the sweep with its table and MLflow, and say how it ended."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import check as checks
from sweep.driver import ray_session, run_sweep
from sweep.errors import Exit
from sweep.record import Record, best_trial, name_is_taken
from sweep.resources import slots, threads
from sweep.show import outcome_text
from sweep.space import trial_count
from sweep.spec import rungs, spec_hash
from sweep.table import Follower, make_view
from sweep.tracking import Mirror, default_uri
from sweep.trial import Job

if TYPE_CHECKING:
    from sweep.spec import SweepSpec


def run(spec: SweepSpec, *, root: Path, name: str | None, address: str | None, command: str) -> Exit:
    """Run a sweep to its end and print the outcome on stdout.

    Raises:
        Refused: the spec, the machine or the name does not allow it; nothing was started or overwritten.
        Unreachable: a model, the data or the cluster is not there.
    """
    name = name or spec.name
    if (root / name).exists():
        raise name_is_taken(root / name)
    checks.check(spec, address=address)
    objective = spec.objective
    about = {
        "objective": f"{objective.task} {objective.split} {objective.metric}",
        "rungs": list(rungs(spec)),
        "searched": list(spec.searched),
        "trials": trial_count(spec),
        "spec_hash": spec_hash(spec),
        "command": command,
    }
    record = Record.create(root, name, spec.to_yaml(), about)
    mirror = Mirror(record, spec.tracking_uri or default_uri(root))
    mirror.start()
    begin = time.monotonic()
    try:
        _drive(spec, record, address)
    finally:
        record.release()
        complaints = mirror.finish(timeout_s=30)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    text = outcome_text(record, seconds=time.monotonic() - begin)
    record.write_outcome(text)
    print(text)
    trials = record.trials()
    if any(trial.state in ("running", "interrupted") for trial in trials):
        return Exit.INTERRUPTED
    return Exit.DONE if best_trial(trials) else Exit.NONE_COMPLETED


def _drive(spec: SweepSpec, record: Record, address: str | None) -> None:
    print(f"sweep {record.name}: starting Ray; the record is {record.folder}", file=sys.stderr)
    with ray_session(address, record) as machine:
        at_once = slots(spec.resources, machine)
        record.write_slots(at_once)
        objective = spec.objective
        job = Job(
            rungs=rungs(spec),
            task=objective.task,
            split=objective.split,
            metric=objective.metric,
            data_dir=spec.data_folder,
            threads=threads(spec.resources),
        )
        print(f"{at_once} trials at once on {machine.cpus:g} CPUs and {machine.gpus:g} GPUs", file=sys.stderr)
        follower = Follower(record, make_view(len(job.rungs), spec.searched))
        follower.start()
        try:
            run_sweep(spec, record, job, machine)
        finally:
            follower.finish()
