"""`stsweep run`, `resume` and `extend`: check, make or reopen the record, drive the sweep, and say how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.driver import needs_dashboard, prepare_sweep, ray_session, run_trials
from sweep.errors import Exit, Problem, Refused
from sweep.files import disk_fault
from sweep.ledger import ledger_until_now
from sweep.record import Record
from sweep.resources import slots
from sweep.root import check_absolute, check_name, said_place
from sweep.say import say
from sweep.shared_storage import check_shared
from sweep.show import begun_text, going_on_text, outcome_text
from sweep.signals import Signals
from sweep.spec import check as checks
from sweep.spec.difference import differences
from sweep.spec.space import trial_count
from sweep.spec.sweep_spec import load_spec, rungs, spec_hash
from sweep.table import Follower, make_view
from sweep.tracking.mirror import Mirror, default_uri
from sweep.trial import job_of
from sweep.trial_record import best_trial
from sweep.warm_start import find_earlier

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_MIRROR_S = 30.0
_MIRROR_CLOSING_S = 3.0
"""Seconds for the last rows to reach MLflow; after a signal somebody is waiting."""


def run(
    spec: SweepSpec,
    *,
    root: Path,
    name: str | None,
    address: str | None,
    command: str,
    trust_remote_code: bool = False,
) -> Exit:
    """Run a new sweep to its end and print the outcome on stdout.

    With `trust_remote_code`, Python code that an encoder's own files bring is run, here and in the workers.

    Raises:
        Refused: the spec, the machine or the name does not allow it; nothing was started or overwritten.
        Unreachable: a model, the data or the cluster is not there.
    """
    name = spec.name if name is None else name
    check_name(root, name)
    named = spec.model_copy(update={"name": name})
    for note in checks.check(named, address=address, root=root, trust_remote_code=trust_remote_code).notes:
        print(f"note: {note}", file=sys.stderr)
    objective = spec.objective
    about = {
        "objective": f"{objective.task} {objective.split} {objective.metric}",
        "against": objective.against,
        "axis": spec.scheduler.axis,
        "rungs": list(rungs(spec)),
        "searched": list(spec.searched),
        "trials": trial_count(spec),
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec_hash(spec),
        "command": command,
    }
    record = Record.create(root, name, spec.to_yaml(), about, warm_start=find_earlier(spec, root).trials)
    return _drive_to_the_end(spec, record, address, is_new=True, trust_remote_code=trust_remote_code)


def resume(
    root: Path,
    name: str,
    *,
    spec: SweepSpec | None = None,
    changes: Sequence[str] = (),
    more_trials: int = 0,
    address: str | None,
    command: str,
    trust_remote_code: bool = False,
) -> Exit:
    """Go on with a sweep that was closed, killed or has ended.

    What has ended stays; an unfinished trial continues from its last checkpoint; the study, the rungs and what was used
    are rebuilt from the record.

    Args:
        root: where sweeps are kept.
        name: the sweep.
        spec: to go on with. What decides the trials must be as it was; resources, stops, data folder and tracking
            server may differ. None: the recorded one.
        changes: `KEY=VALUE` on the recorded spec.
        more_trials: beyond those that the sweep has or was to have.
        address: a Ray cluster.
        command: what was typed.
        trust_remote_code: as `run`; what was given to an earlier command counts for nothing.

    Raises:
        Refused: there is no such sweep, it belongs to somebody else, a newer program wrote it, the space differs.
        Unreachable: another process drives it, or as `run`.
    """
    check_absolute(root)
    record = Record.open(root, name)
    record.check_drivable()
    began = recorded_spec(record)
    if spec is None:
        with _again(record):
            spec = load_spec(record.folder / "spec.yaml", changes)
    if changed := differences(began, spec):
        may = "resources, stop, keep_best, checkpoint_seconds, data_dir and tracking_uri may"
        raise Refused(
            [Problem(f"{each}; what decides the trials cannot change ({may})") for each in changed],
            next=f"stsweep resume {record.argument}, or a new sweep: stsweep run SPEC --name NEW",
        )
    if spec.trials not in (began.trials, record.about["trials"]):
        raise Refused(
            [
                Problem(
                    f"{spec.trials}; the sweep has {record.about['trials']}, and resume changes no number", key="trials"
                )
            ],
            next=f"leave trials out; for more of them: stsweep extend {record.argument} --trials MORE",
        )
    if more_trials and spec.sampler.name == "grid":
        raise Refused(
            [Problem("a grid has its points and no more", key="--trials")], next=f"stsweep resume {record.argument}"
        )
    trials = record.trials()
    has_ended = len(trials) == record.about["trials"] and all(trial.ended is not None for trial in trials)
    # A driver that was killed after the last end may have left the study behind: that is mended by driving.
    if has_ended and not more_trials and "ended" in record.sessions()[-1]:
        kept = load_spec(record.folder / "spec.yaml").model_copy(update={"tracking_uri": spec.tracking_uri})
        record.write_spec(kept.to_yaml())  # where `stsweep ui` looks for the server; nothing else was checked
        mirror = Mirror(record, spec.tracking_uri or default_uri(root))
        mirror.start()
        _send_the_rest(mirror)
        say(f"sweep {record.name} has ended: all its {len(trials)} trials have\nNext: {_more(spec, record)}")
        return Exit.DONE if best_trial(trials) else Exit.NONE_COMPLETED
    if why := ledger_until_now(spec, record).reason_to_close():
        raise Refused(
            [Problem(f"{why}, so no trial would be run")],
            next=f"stsweep {_going_on(record, more_trials)} --set {why.partition(' ')[0]}=MORE",
        )
    with _again(record, more_trials):
        notes = checks.check(
            spec, address=address, root=root, begun=record.folder, trust_remote_code=trust_remote_code
        ).notes
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    record.drive(command)
    record.write_spec(spec.to_yaml())
    say(going_on_text(record, more_trials), sys.stderr)
    return _drive_to_the_end(
        spec, record, address, is_new=False, more_trials=more_trials, trust_remote_code=trust_remote_code
    )


@contextmanager
def _again(record: Record, more_trials: int = 0) -> Iterator[None]:
    """What is wrong with the spec of a sweep that goes on is set right by `--set`, not in a file."""
    try:
        yield
    except Refused as refused:
        following = f"correct it, with --set too, then: stsweep {_going_on(record, more_trials)}"
        raise type(refused)(refused.problems, following) from None


def _going_on(record: Record, more_trials: int) -> str:
    return f"extend {record.argument} --trials {more_trials}" if more_trials else f"resume {record.argument}"


def _more(spec: SweepSpec, record: Record) -> str:
    look = f"stsweep {'best' if best_trial(record.trials()) else 'status'} {record.argument}"
    if spec.sampler.name == "grid":
        return look
    return f"{look}, or for more trials: stsweep extend {record.argument} --trials MORE"


def recorded_spec(record: Record) -> SweepSpec:
    """The spec that a sweep began with."""
    from pydantic import ValidationError

    from sweep.spec.sweep_spec import SweepSpec

    try:
        return SweepSpec.model_validate(record.about["spec"])
    except (KeyError, ValidationError) as error:
        raise Refused(
            [Problem(f"damaged: its spec cannot be read ({error})", str(record.folder / "sweep.json"))],
            next="restore the file from a copy, or stsweep run SPEC --name NEW",
        ) from None


def _drive_to_the_end(
    spec: SweepSpec,
    record: Record,
    address: str | None,
    *,
    is_new: bool,
    more_trials: int = 0,
    trust_remote_code: bool,
) -> Exit:
    """Drive a sweep and say how it ended; a new one in which nothing has begun leaves its name free."""
    begin = time.monotonic()
    with Signals() as signals:
        mirror = Mirror(record, spec.tracking_uri or default_uri(record.folder.parent))
        try:
            why = _drive(spec, record, address, mirror, signals, more_trials, trust_remote_code)
        except KeyboardInterrupt:
            why = "ended at once"
        except BaseException as error:
            why = disk_fault(error)
            if why is None or not record.has_trials():
                signals.conclude()
                with suppress(OSError):
                    record.release()
                _send_the_rest(mirror, signals.exit)
                if is_new and not record.has_trials():
                    record.discard()
                raise
        why = why or record.share.lost
        signals.conclude()
        with suppress(OSError):  # a disk that fails: the record is then that of a killed driver, and goes on as such
            record.change(closed=why)  # while no other driver can change it too
        with suppress(OSError):
            record.release()
        trials = record.trials()
        if is_new and signals.exit is not None and not trials:
            command = record.about["command"]
            _send_the_rest(mirror, signals.exit)
            record.discard()
            say(f"nothing had begun, so nothing is kept; again: {command}", sys.stderr)
            return signals.exit
        text = outcome_text(record, seconds=time.monotonic() - begin, why=why, address=address)
        with suppress(OSError):
            record.write_outcome(text)
        _send_the_rest(mirror, signals.exit)
        say(text)
    if signals.exit is not None:
        return signals.exit
    if record.share.lost is not None:
        say(f"{said_place(record.folder)} has nothing of what was done after that; resume does it again", sys.stderr)
        return Exit.UNREACHABLE
    unfinished = len(trials) < record.about["trials"] or any(trial.ended is None for trial in trials)
    if unfinished and not (why or "").startswith("stop."):  # not by a limit of its own
        return Exit.INTERRUPTED
    return Exit.DONE if best_trial(trials) else Exit.NONE_COMPLETED


def _send_the_rest(mirror: Mirror, signalled: Exit | None = None) -> None:
    for complaint in mirror.finish(timeout_s=_MIRROR_S if signalled is None else _MIRROR_CLOSING_S):
        say(complaint, sys.stderr)


def _drive(
    spec: SweepSpec,
    record: Record,
    address: str | None,
    mirror: Mirror,
    signals: Signals,
    more_trials: int,
    trust_remote_code: bool,
) -> str | None:
    say(begun_text(record, address), sys.stderr)
    with ray_session(address, record.folder / "code", dashboard=needs_dashboard(spec)) as cluster:
        signals.install()
        now = slots(spec.resources, cluster)
        record.change(slots=now or None)
        print(f"{cluster.cpus:g} CPUs, {cluster.gpus:g} GPUs: {now} trials at once; preparing", file=sys.stderr)
        if address is not None:
            check_shared(spec, record.folder.resolve(), record.argument)
        job = job_of(spec, pause=record.pause_file.resolve(), trust_remote_code=trust_remote_code)
        prepare_sweep(spec, record, job)
        # Not before: what fails until here can be typed again.
        record.change(trials=record.about["trials"] + more_trials)
        mirror.start()
        rung_count = None if spec.scheduler.axis == "seconds" else len(job.rungs)
        follower = Follower(record, make_view(rung_count, spec.searched, partial(_left, spec, record)))
        follower.start()
        try:
            return run_trials(spec, record, job, cluster, signals, grows=address is not None)
        finally:
            follower.finish()


def _left(spec: SweepSpec, record: Record) -> str | None:
    if not any((spec.stop.wall_hours, spec.stop.worker_hours, spec.stop.cost)):
        return None
    return ledger_until_now(spec, record).left_text()
