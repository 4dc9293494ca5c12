"""What makes a sweep's record unreadable, or unfit to be driven on: a damaged sweep.json, trials that are missing."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sweep.errors import Problem, Refused

_FACTS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "created": (int, float),
    "objective": (str,),
    "rungs": (list,),
    "searched": (list,),
    "trials": (int,),
}
"""Facts of a sweep that every reading command needs, and their types."""


def check_facts(about: Any, folder: Path, *, newest: int) -> None:
    """Whether what was read from `sweep.json` has what every command needs.

    Args:
        about: its content.
        folder: the sweep's.
        newest: record format that this program reads.

    Raises:
        Refused: a newer program wrote it, or it is damaged; every fact that is missing or of another type is named.
    """
    known = about if isinstance(about, dict) else {}
    written = known.get("format")
    if isinstance(written, int) and written > newest:
        raise Refused(
            [Problem(f"{folder} has record format {written}; this program reads up to {newest}")],
            next="pip install --upgrade stsweep",
        )
    faults = [name for name, types in _FACTS.items() if type(known.get(name)) not in types]
    if faults:
        said = ", ".join(f"{name} is {json.dumps(known[name])}" if name in known else f"no {name}" for name in faults)
        raise Refused(
            [Problem(f"damaged: {said}", str(folder / "sweep.json"))],
            next="restore the file from a copy, or move the sweep's folder away",
        )


def check_numbers(numbers: Collection[int], folder: Path, *, first: int) -> None:
    """Whether every trial is there up to the last: Optuna numbers trials by counting them.

    Args:
        numbers: of the trials that are there.
        folder: the sweep's.
        first: number of the sweep's first trial, after those of a warm start.

    Raises:
        Refused: some are missing; each is named.
    """
    if lost := sorted(set(range(first, max(numbers, default=0))) - set(numbers)):
        missing = ", ".join(f"{number:04d}" for number in lost)
        raise Refused(
            [Problem(f"trials are missing: {missing}", str(folder / "trials"))],
            next="restore them from a copy, or stsweep run SPEC --name NEW",
        )
