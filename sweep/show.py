"""What the reading commands say of a record, as text for a person and as plain data for `--json`."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import Problem, Refused
from sweep.record import FLOOR, Record, Row, Trial, best_trial, busy_share
from sweep.root import sweep_names
from sweep.table import knob_text, trial_table

if TYPE_CHECKING:
    from sweep.spec.check import Plan


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as plain data."""
    return asdict(plan)


def plan_text(plan: Plan) -> str:
    """What a sweep will do, for a person."""
    layers = ", ".join(f"{name} ({count} layers)" if count else name for name, count in plan.layers.items())
    expected = plan.expected_sentences / plan.most_sentences
    lines = [
        f"{plan.trials} trials of {layers}; {plan.at_once or 'as many as fit'} at once",
        f"corpus {plan.corpus_sentences:,} sentences; objective {plan.pairs:,} pairs",
        "rungs (sentences seen, trials expected there): "
        + ", ".join(f"{rung.sentences:,} ({rung.trials:.3g})" for rung in plan.rungs),
        f"sentences trained on: about {plan.expected_sentences:,} expected, {expected:.0%} of the "
        f"{plan.most_sentences:,} if nothing is stopped",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in plan.notes)])


def sweeps_json(root: Path) -> list[dict[str, Any]]:
    """One entry a sweep, oldest first: name, state, trials by state, best score."""
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
        return f"no sweeps in {root}\nNext: stsweep run quickstart"
    width = max(len(sweep["name"]) for sweep in found)
    return "\n".join(
        f"{sweep['name']:<{width}}  {sweep['state']:<11}  "
        f"{'best ' + format(sweep['best_score'], '.2f') if sweep['best_score'] is not None else 'no best yet':<12}  "
        f"{_counts(sweep['trials'])}"
        for sweep in found
    )


def status_json(record: Record) -> dict[str, Any]:
    """The summary, then every trial with its rows."""
    return _summary(record) | {
        "rungs": record.about["rungs"],
        "baselines": record.baselines(),
        "trial": [_trial_json(trial) for trial in record.trials()],
    }


def status_text(record: Record) -> str:
    from rich.console import Console

    summary, trials, about = _summary(record), record.trials(), record.about
    buffer = io.StringIO()
    Console(file=buffer, width=160, no_color=True).print(
        trial_table(trials, len(about["rungs"]), tuple(about["searched"]))
    )
    lines = [f"{summary['name']}: {summary['state']}; {_counts(summary['trials'])} of {about['trials']}"]
    lines += [line.rstrip() for line in buffer.getvalue().splitlines()]
    lines += [f"trial {trial.number:04d} {trial.state}: {_last_line(trial.reason)}" for trial in trials if trial.reason]
    return "\n".join([*lines, _baselines_line(record)])


def best_json(record: Record) -> dict[str, Any]:
    """The best trial with its knobs and rows, and the baselines beside it."""
    return _trial_json(_best(record)) | {"sweep": record.name, "baselines": record.baselines()}


def best_text(record: Record) -> str:
    trial = _best(record)
    about = record.about
    row = trial.rows[-1]
    lines = [
        f"best trial {trial.number:04d}: {about['objective']} {row.score:.2f} after {row.sentences:,} sentences",
        *(f"  {name} {knob_text(trial.config[name])}" for name in about["searched"] if name in trial.point),
        *_poolings_lines(row),
        _baselines_line(record),
    ]
    return "\n".join(lines)


def outcome_text(record: Record, seconds: float) -> str:
    """What `stsweep run` says at the end."""
    trials, about = record.trials(), record.about
    share = busy_share(trials, about["slots"]) if about["slots"] else None
    lines = [f"sweep {record.name}: {_counts(_by_state(trials))} in {seconds:.0f} s"]
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
        "state": "running" if record.is_driven() else "finished" if done else "interrupted",
        "created": about["created"],
        "objective": about["objective"],
        "trials": _by_state(trials),
        "best_trial": best.number if best else None,
        "best_score": best.score if best else None,
    }


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "reason": trial.reason,
        "score": trial.score,
        "point": trial.point,
        "config": trial.config,
        "rows": [asdict(row) for row in trial.rows],
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
