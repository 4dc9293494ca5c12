"""What the reading commands say of a record, as text for a person and as plain data for `--json`."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cluster import job_has_working_dir
from sweep.deaths import deaths_of
from sweep.errors import Problem, Refused
from sweep.ledger import closed_seconds
from sweep.object_store.root import refresh_all
from sweep.record import Record
from sweep.root import said_place, said_root, sweep_names
from sweep.table import knob_text, trial_table
from sweep.trial_record import FLOOR, Row, Trial, best_trial, busy_share, pareto_front

if TYPE_CHECKING:
    from sweep.ledger import Ledger


def sweeps_json(root: Path) -> list[dict[str, Any]]:
    """One entry a sweep, oldest first: name, state, trials by state, best score."""
    refresh_all(root)
    return [_summary_or_fault(root, name) for name in sweep_names(root)]


def _summary_or_fault(root: Path, name: str) -> dict[str, Any]:
    """A sweep whose record cannot be read is listed as such: it must not hide the others."""
    try:
        return _summary(Record.open(root, name))
    except Refused as refused:
        fault = str(refused.problems[0])
        return {
            "name": name,
            "state": "unreadable",
            "fault": fault,
            "trials": {},
            "best_trial": None,
            "best_score": None,
        }


def sweeps_text(root: Path) -> str:
    found = sweeps_json(root)
    if not found:
        return f"no sweeps in {said_root(root)}\nNext: stsweep run quickstart"
    width = max(len(sweep["name"]) for sweep in found)
    return "\n".join(f"{sweep['name']:<{width}}  {sweep['state']:<11}  {_sweep_line(sweep)}" for sweep in found)


def _sweep_line(sweep: dict[str, Any]) -> str:
    if fault := sweep.get("fault"):
        return str(fault)
    best = "no best yet" if sweep["best_score"] is None else f"best {sweep['best_score']:.2f}"
    return f"{best:<12}  {_counts(sweep['trials'])}"


def status_json(record: Record) -> dict[str, Any]:
    """The summary, then every trial with its rows."""
    return _summary(record) | {
        "used": _used_json(record),
        "rungs": record.about["rungs"],
        "baselines": record.baselines(),
        "trial": [_trial_json(trial) for trial in record.trials()],
    }


def status_text(record: Record) -> str:
    from rich.console import Console

    summary, trials, about = _summary(record), record.trials(), record.about
    buffer = io.StringIO()
    Console(file=buffer, width=160, no_color=True).print(
        trial_table(
            trials,
            None if about.get("axis") == "seconds" else len(about["rungs"]),
            tuple(about["searched"]),
            against=about.get("against"),
        )
    )
    lines = [f"{summary['name']}: {summary['state']}; {_counts(summary['trials'])} of {about['trials']}"]
    lines += [line.rstrip() for line in buffer.getvalue().splitlines()]
    lines += [f"trial {trial.number:04d} {trial.state}: {_last_line(trial.reason)}" for trial in trials if trial.reason]
    lines += [f"trial {trial.number:04d}: {note}" for trial in trials if (note := _note(trial))]
    lines += [f"trial {trial.number:04d}: {said}" for trial in trials if (said := _deaths_line(trial))]
    return "\n".join([*lines, *_used_lines(record), _baselines_line(record)])


def _note(trial: Trial) -> str:
    path = trial.folder / "note.txt"
    return _last_line(path.read_text(encoding="utf-8")) if path.exists() else ""


def _deaths_line(trial: Trial) -> str:
    deaths = deaths_of(trial.folder)
    said = {"workers died": deaths.failures, "times its node was gone": deaths.preemptions}
    return ", ".join(f"{what}: {count}" for what, count in said.items() if count)


def _used_json(record: Record) -> dict[str, Any] | None:
    ledger = _ledger(record)
    return None if ledger is None else asdict(ledger.used())


def _used_lines(record: Record) -> list[str]:
    """What the sweep has used, and what is left of its limits."""
    ledger = _ledger(record)
    if ledger is None:
        return []
    used, left = ledger.used(), ledger.left_text()
    cost = "" if used.cost is None else f", cost {used.cost:.2f}"
    said = f"used: {used.wall_hours:.2f} wall hours, {used.worker_hours:.2f} worker hours{cost}"
    return [said] if left is None else [said, left]


def _ledger(record: Record) -> Ledger | None:
    """None for a record of an older program, which did not keep its drivers."""
    if "spec" not in record.about:
        return None
    from sweep.ledger import ledger_until_now
    from sweep.spec.sweep_spec import load_spec

    return ledger_until_now(load_spec(record.folder / "spec.yaml"), record)


def best_json(record: Record) -> dict[str, Any]:
    """The best trial with its knobs and rows, and the baselines beside it."""
    front = [trial.number for trial in pareto_front(record.trials())] if record.about.get("against") else None
    return _trial_json(_best(record)) | {"sweep": record.name, "baselines": record.baselines(), "front": front}


def best_text(record: Record) -> str:
    trial = _best(record)
    about = record.about
    row = trial.rows[-1]
    if about.get("against"):
        return "\n".join([*_front_lines(record), _baselines_line(record)])
    lines = [
        f"best trial {trial.number:04d}: {about['objective']} {row.score:.2f} after {row.sentences:,} sentences",
        *(f"  {name} {knob_text(trial.config[name])}" for name in about["searched"] if name in trial.point),
        *_poolings_lines(row),
        _baselines_line(record),
    ]
    untrained = record.baselines().get("untrained")
    if untrained is not None and row.score < untrained:
        lines.append("which is below the untrained encoder of the first configuration")
    return "\n".join(lines)


def _front_lines(record: Record) -> list[str]:
    """The Pareto front, best score first."""
    about = record.about
    unit = "MB" if about["against"] == "size" else "ms a sentence"
    lines = [f"Pareto front of {about['objective']} and {about['against']}:"]
    for trial in pareto_front(record.trials()):
        last = trial.rows[-1]
        other = last.size_mb if about["against"] == "size" else last.latency_ms
        knobs = ", ".join(f"{name} {knob_text(value)}" for name, value in trial.point.items())
        lines.append(f"  trial {trial.number:04d}  {last.score:6.2f}  {other:.3g} {unit}  {knobs}")
    return lines


def begun_text(record: Record, address: str | None) -> str:
    """What `run` and `resume` say first: where the record is, and how to go on."""
    where = "starting Ray" if address is None else f"on the Ray at {address}"
    on = f" --address {address}" if address else ""
    again = f"Ctrl-C closes it; killed or closed, it goes on by: stsweep resume {record.argument}{on}"
    if job_has_working_dir():  # whoever reads it sees a log, on another machine
        again = "stopped or killed, it goes on when it is submitted again"
    return f"sweep {record.name}: {where}; the record is {said_place(record.folder)}\n{again}"


def outcome_text(record: Record, seconds: float, why: str | None = None, address: str | None = None) -> str:
    """What `stsweep run` says at the end.

    Args:
        record: the sweep.
        seconds: how long it was driven this time.
        why: it was closed before its trials were all run; None when it was not.
        address: of the cluster on which it ran; None for this machine.
    """
    trials, about = record.trials(), record.about
    share = busy_share(trials, about["slots"], closed_seconds(record)) if about["slots"] else None
    asked = "" if len(trials) == about["trials"] else f" of {about['trials']}"
    lines = [f"sweep {record.name}: {_counts(_by_state(trials))}{asked} in {seconds:.0f} s"]
    if why is not None:
        unfinished, waiting = sum(trial.ended is None for trial in trials), about["trials"] - len(trials)
        lines.append(f"closed: {why}; {unfinished} trials unfinished, {waiting} not begun")
        if unfinished or waiting:
            limit = f" --set {why.partition(' ')[0]}=MORE" if why.startswith("stop.") else ""
            on = f" --address {address}" if address else ""
            lines.append(f"to go on: stsweep resume {record.argument}{on}{limit}")
    if share is not None:
        lines.append(
            f"workers busy {share:.2f} of {about['slots']} slots × time (first trial's start to last one's end)"
        )
    if best_trial(trials):
        lines += [best_text(record), f"Next: stsweep export {record.argument}, stsweep ui {record.argument}"]
    else:
        reasons = Counter(_last_line(trial.reason) for trial in trials if trial.reason)
        lines += [
            "no trial reached the top rung",
            *(f"  {count} × {reason}" for reason, count in reasons.most_common(3)),
        ]
        lines.append(f"Next: stsweep status {record.argument}")
    return "\n".join(lines)


def going_on_text(record: Record, more_trials: int) -> str:
    """What `stsweep resume` and `extend` find and are about to do."""
    trials = record.trials()
    ended = sum(trial.ended is not None for trial in trials)
    return (
        f"sweep {record.name}: {ended} trials have ended and stay, {len(trials) - ended} go on from their last "
        f"checkpoint, {record.about['trials'] + more_trials - len(trials)} are to begin"
    )


def _best(record: Record) -> Trial:
    trial = best_trial(record.trials())
    if trial is None:
        raise Refused(
            [Problem(f"no trial of {record.name!r} has reached the top rung yet")],
            next=f"stsweep status {record.argument}",
        )
    return trial


def _by_state(trials: list[Trial]) -> dict[str, int]:
    return dict(Counter(trial.state for trial in trials))


def _counts(by_state: dict[str, int]) -> str:
    total = sum(by_state.values())
    states = ", ".join(f"{count} {state}" for state, count in sorted(by_state.items(), key=lambda item: -item[1]))
    return f"{total} trials" + (f" ({states})" if states else "")


def _summary(record: Record) -> dict[str, Any]:
    trials = record.trials()
    best = best_trial(trials)
    about = record.about
    done = len(trials) == about["trials"] and not any(trial.state in ("running", "interrupted") for trial in trials)
    return {
        "name": record.name,
        "state": _state(record, done),
        "closed": about.get("closed"),
        "created": about["created"],
        "objective": about["objective"],
        "trials": _by_state(trials),
        "best_trial": best.number if best else None,
        "best_score": best.score if best else None,
    }


def _state(record: Record, done: bool) -> str:
    """`closed`: it ended early, by its own `stop` or by a signal; `interrupted`: its driver was killed."""
    if record.is_driven():
        return "running"
    if done:
        return "finished"
    return "closed" if record.about.get("closed") else "interrupted"


def _trial_json(trial: Trial) -> dict[str, Any]:
    deaths = deaths_of(trial.folder)
    return {
        "number": trial.number,
        "state": trial.state,
        "reason": trial.reason,
        "score": trial.score,
        "point": trial.point,
        "config": trial.config,
        "rows": [asdict(row) for row in trial.rows],
        "deaths": {"failures": deaths.failures, "preemptions": deaths.preemptions},
    }


def _poolings_lines(row: Row) -> list[str]:
    """The score with every pooling, best first."""
    scores = {name: FLOOR if score is None else score for name, score in (row.poolings or {}).items()}
    ranked = sorted(scores, key=lambda name: -scores[name])
    return ["with every pooling: " + " · ".join(f"{name} {scores[name]:.2f}" for name in ranked)] if ranked else []


def _baselines_line(record: Record) -> str:
    scores = record.baselines()
    objective = record.about["objective"]
    said = " · ".join(
        f"{name} {'no score' if score is None else format(score, '.2f')}" for name, score in scores.items()
    )
    return f"beside it on {objective}: {said}" if said else f"no baselines on {objective} yet"


def _last_line(text: str | None) -> str:
    return text.strip().splitlines()[-1] if text and text.strip() else ""
