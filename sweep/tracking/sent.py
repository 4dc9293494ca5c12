"""What MLflow has of a sweep: the cursor of every run, kept in the sweep's `mlflow.json`.

The file may lag behind the store by a few seconds, never lead it. Whatever a dead process could not note down any more
is found again by its tag and sent a second time, which the store takes as the same.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from sweep.errors import Problem, Refused
from sweep.files import write_whole
from sweep.record import Record

_NOTE_EVERY_S = 5.0
"""A round to a slow server takes minutes, which the next process should not have to send again."""


@dataclass
class SentTrial:
    """What MLflow has of one trial: its run, its knobs, how many rows, the state last told, and whether a score."""

    run: str
    knobs: bool = False
    rows: int = 0
    state: str | None = None
    scored: bool = False


@dataclass
class Sent:
    """What MLflow has of a sweep. `uri` is None for the database of the root, which may move with the record."""

    uri: str | None = None
    experiment: str | None = None
    parent: str | None = None
    baselines: bool = False
    status: str | None = None
    trials: dict[int, SentTrial] = field(default_factory=dict)


def read_sent(record: Record) -> Sent:
    """What was sent of a sweep so far; nothing before its first round.

    Raises:
        Refused: something else than this program has written the file.
    """
    path = _path(record)
    if not path.exists():
        return Sent()
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        trials = {int(number): SentTrial(**trial) for number, trial in said.pop("trials").items()}
        return Sent(**said, trials=trials)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = Problem(f"damaged: {error}", str(path))
        raise Refused([problem], next=f"rm {path}; the runs are found again by their tags") from None


class Notebook:
    """Writes a sweep's `mlflow.json`, not after every trial: with thousands of them that would be the most work."""

    def __init__(self, record: Record, sent: Sent) -> None:
        self._path = _path(record)
        self._sent = sent
        self._text = ""
        self._written = time.monotonic()

    def write(self) -> None:
        """Write the file if there is anything new."""
        trials = {number: vars(trial) for number, trial in self._sent.trials.items()}
        text = json.dumps(vars(self._sent) | {"trials": trials}) + "\n"
        if text != self._text:
            write_whole(self._path, text)
        self._text, self._written = text, time.monotonic()

    def write_now_and_then(self) -> None:
        """Write the file if the last time was a while ago."""
        if time.monotonic() - self._written > _NOTE_EVERY_S:
            self.write()


def _path(record: Record) -> Path:
    return record.folder / "mlflow.json"
