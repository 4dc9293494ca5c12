"""How the workers of a trial died: by a failure, which may be the trial's own, or with their node, which is not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.files import append_json_line, read_json_lines

FILE = "deaths.jsonl"
"""In a trial's folder: a line a death, with when, which kind and what was said."""

Kind = Literal["failure", "preemption", "accelerator"]
"""`accelerator`: what a worker said before it ended itself; that death has a line of the driver's too."""

_NODE_IS_GONE = (
    *("its node has died", "node has crashed", "node it was running on is dead", "was preempted"),
    "The actor is temporarily unavailable",
)
"""In Ray's messages (`GenErrorMessageFromDeathCause` of its GCS, `NodeDiedError`) of an actor that died with its node:
taken away by its owner, crashed, or out of reach. The last is `ActorUnavailableError`: the connection broke, and the
node, which tells at once of a process that died, has told nothing."""


@dataclass(frozen=True)
class Deaths:
    """How often a trial's workers died, and what was said of it."""

    failures: int
    preemptions: int
    last_is_preemption: bool
    said: str


def note_death(folder: Path, said: str, kind: Kind | None = None) -> None:
    """Keep a death in a trial's folder; what kind of one Ray's words tell when it is not given."""
    known = kind or ("preemption" if is_preemption(said) else "failure")
    append_json_line(folder / FILE, {"time": time.time(), "kind": known, "said": said})


def is_preemption(said: str) -> bool:
    """Whether Ray's message says that the worker's node is gone."""
    return any(words in said for words in _NODE_IS_GONE)


def deaths_of(folder: Path) -> Deaths:
    """All deaths of a trial, failures and preemptions apart."""
    noted = list(read_json_lines(folder / FILE))
    kinds = [each["kind"] for each in noted]
    said = "\n".join(each["said"].strip() for each in noted)
    return Deaths(kinds.count("failure"), kinds.count("preemption"), kinds[-1:] == ["preemption"], said)
