"""Files that are computed once and shared by all processes of a machine: a lock, a temporary name, one rename."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from model.errors import InputError


def cache_dir() -> Path:
    """The folder of everything that may be deleted and is then computed again: `STSWEEP_CACHE` or ~/.cache/stsweep."""
    chosen = os.environ.get("STSWEEP_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "stsweep"


def build_once(path: Path, write: Callable[[Path], None]) -> Path:
    """`path`, written by `write` unless it is already there; a file under that name is always whole.

    `write` receives a temporary path beside it. Of several processes one writes while the others wait. A writer that is
    killed leaves only its temporary file, which the next one removes.

    Raises:
        InputError: the cache folder cannot be written (rights, no space).
    """
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():
                _write(path, write)
    except OSError as error:
        if error.errno is None:  # not the system's word: `write` could not reach what it needs, and says so itself
            raise
        raise InputError(
            f"the cache {path.parent} cannot be written ({error.strerror}); "
            "make room, or name another folder: export STSWEEP_CACHE=FOLDER"
        ) from error
    return path


def _write(path: Path, write: Callable[[Path], None]) -> None:
    # One fixed name, not one a process: who holds the lock knows that what lies there is a dead writer's.
    temporary = path.with_name(path.name + ".part")
    temporary.unlink(missing_ok=True)
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """The sha256 (hex) of a file, computed anew only when its size or its time of change has changed.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    return _hash_file(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_file(path: Path, size: int, changed_ns: int) -> str:
    """Cached by size and time: trials of one worker ask again and again for the same files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
