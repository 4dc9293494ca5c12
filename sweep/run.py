"""`stsweep run`: check, make the record, drive the sweep with its table and MLflow, and say how it ended."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.driver import job_has_working_dir, prepare_sweep, ray_session, run_trials
from sweep.errors import Exit, Problem, Refused, Unreachable
from sweep.record import Record, best_trial
from sweep.resources import fitting, slots
from sweep.root import check_name
from sweep.show import outcome_text
from sweep.spec import check as checks
from sweep.spec.space import trial_count
from sweep.spec.sweep_spec import rungs, spec_hash
from sweep.table import Follower, make_view
from sweep.tracking.mirror import Mirror, default_uri
from sweep.trial import job_of

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_CLUSTER_TIMEOUT_S = 3.0


def run(spec: SweepSpec, *, root: Path, name: str | None, address: str | None, command: str) -> Exit:
    """Run a sweep to its end and print the outcome on stdout.

    Raises:
        Refused: the spec, the machine or the name does not allow it; nothing was started or overwritten.
        Unreachable: a model, the data or the cluster is not there.
    """
    name = spec.name if name is None else name
    _check_root(root)
    check_name(root, name)
    for note in checks.check(spec, address=address).notes:
        print(f"note: {note}", file=sys.stderr)
    _reach(address)
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
    begin = time.monotonic()
    try:
        _drive(spec, record, address, mirror)
    except BaseException:
        if not record.trials():  # nothing has started, so that the name is free again
            record.discard()
        raise
    finally:
        record.release()
        complaints = mirror.finish(timeout_s=30)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    text = outcome_text(record, seconds=time.monotonic() - begin)
    record.write_outcome(text)
    print(text)
    trials = record.trials()
    if len(trials) < trial_count(spec) or any(trial.state in ("running", "interrupted") for trial in trials):
        return Exit.INTERRUPTED
    return Exit.DONE if best_trial(trials) else Exit.NONE_COMPLETED


def _drive(spec: SweepSpec, record: Record, address: str | None, mirror: Mirror) -> None:
    print(f"sweep {record.name}: starting Ray; the record is {record.folder}", file=sys.stderr)
    with ray_session(address, record) as machine:
        fit = fitting(spec.resources, machine)
        # A cluster may grow with what waits for it, from no worker at all; this machine cannot.
        at_once = slots(spec.resources, machine) if address is None else spec.resources.concurrent or trial_count(spec)
        now = min(fit, at_once)
        record.write_slots(now or None)
        print(f"{machine.cpus:g} CPUs, {machine.gpus:g} GPUs: {now} trials at once; preparing", file=sys.stderr)
        job = job_of(spec)
        prepare_sweep(spec, record, job)
        mirror.start()
        follower = Follower(record, make_view(len(job.rungs), spec.searched))
        follower.start()
        try:
            run_trials(spec, record, job, at_once)
        finally:
            follower.finish()


def _check_root(root: Path) -> None:
    """Refuse a root that goes with the job: Ray copies `--working-dir` to a temporary folder and runs there."""
    if job_has_working_dir() and not root.is_absolute():
        message = f"{str(root)!r} lies in the job's temporary working directory and would be lost with it"
        raise Refused([Problem(message, key="--root")], next="stsweep run SPEC --root /a/folder/that/stays")


def _reach(address: str | None) -> None:
    """Refuse a cluster's `HOST:PORT` or `ray://HOST:PORT` where nothing listens; Ray says so after a minute only."""
    if address is None or address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CLUSTER_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "it has no port"
        problem = Problem(f"no Ray cluster answers at {address}: {why}; give HOST:PORT of its head", key="--address")
        raise Unreachable(
            [problem], next="ray status, or leave --address and RAY_ADDRESS out to run on this machine"
        ) from None
