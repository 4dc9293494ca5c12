"""`run --or-resume`: one command that begins a sweep or goes on with it, for whoever tries a job again."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from sweep.object_store.root import await_free, refresh
from sweep.root import sweep_names
from sweep.run import resume, run

if TYPE_CHECKING:
    from sweep.errors import Exit
    from sweep.spec.sweep_spec import SweepSpec

_BEFORE_IT_IS_ONE = {"lock", "driver.json", "sessions.jsonl", "spec.yaml", "warm_start.json", "trials"}
"""What `Record.create` makes before `sweep.json`, which makes a folder a sweep."""
_TORN = re.compile(r"\.(driver\.json|spec\.yaml|warm_start\.json|sweep\.json)\.\d+")
"""What `files.write_whole` leaves when it is killed."""


def run_or_resume(
    spec: SweepSpec,
    *,
    root: Path,
    name: str | None,
    address: str | None,
    command: str,
    trust_remote_code: bool = False,
) -> Exit:
    """Go on with the sweep of that name if the root has it, else begin it.

    Raises:
        Refused, Unreachable: as `run` and `resume`; a sweep of another spec is refused as `resume` does.
    """
    name = spec.name if name is None else name
    refresh(root, name)
    await_free(root, name)
    if name in sweep_names(root):
        return resume(root, name, spec=spec, address=address, command=command, trust_remote_code=trust_remote_code)
    _remove_torn(root / name)
    return run(spec, root=root, name=name, address=address, command=command, trust_remote_code=trust_remote_code)


def _remove_torn(folder: Path) -> None:
    """Remove what a driver left that was killed while it made the folder, before anything was recorded.

    A folder with anything else in it stays, and so does one whose driver lives: `run` then refuses the name.
    """
    if not _is_torn(folder):
        return
    with suppress(Timeout), FileLock(folder / "lock", blocking=False):
        if _is_torn(folder):  # still: another command may have made a sweep of it before the lock was had
            shutil.rmtree(folder)


def _is_torn(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    entries = {entry.name for entry in folder.iterdir() if not _TORN.fullmatch(entry.name)}
    return entries <= _BEFORE_IT_IS_ONE and not any((folder / "trials").glob("*"))
