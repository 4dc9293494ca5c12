"""A root at a URI, and the folder in this machine's cache that stands for it: `Path`s go on meaning folders."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from model.cache import cache_dir
from sweep.files import is_locked, write_whole
from sweep.object_store.copy import SweepCopy
from sweep.object_store.lease import EXPIRY_S, Lease
from sweep.object_store.sweep import SharedSweep, Unshared
from sweep.object_store.uri import check_uri, is_uri, slug
from sweep.say import say

_SAYS = ".uri"
"""In such a folder: its URI."""


def root_folder(root: str) -> Path:
    """The folder of a root as it was given: itself, or what stands for a URI, whose store answers.

    Raises:
        Refused: a URI that is none.
        StorageFault: the store refuses, or does not answer.
    """
    if not is_uri(root):
        return Path(root)
    from sweep.object_store.store import open_store

    uri = check_uri(root)
    open_store(uri)
    folder = cache_dir() / "roots" / slug(uri)
    if uri_of(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _SAYS, uri + "\n")
    return folder


def uri_of(root: Path) -> str | None:
    """The URI that a folder stands for; None for any other folder."""
    try:
        return (root / _SAYS).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def share_of(folder: Path) -> Unshared:
    """What a sweep's folder has to do with a store."""
    uri = uri_of(folder.parent)
    return Unshared() if uri is None else SharedSweep(folder, uri)


def refresh(root: Path, name: str) -> None:
    """Bring the copy of one sweep up to date, or have none where there is no such sweep. Of a path: nothing.

    Where a process of this machine drives it, it is up to date.

    Raises:
        StorageFault: the store refuses, or does not answer.
    """
    uri, folder = uri_of(root), root / name
    if uri is None:
        return
    sweep = SweepCopy(folder, uri)
    with sweep.alone():
        if is_locked(folder / "lock"):
            return
        folder.mkdir(exist_ok=True)
        sweep.pull()
        if sweep.is_there():
            sweep.look()
        else:
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()


def await_free(root: Path, name: str, *, expiry_s: float = EXPIRY_S, look_s: float = 2.0) -> None:
    """Where a sweep's lease is held elsewhere, wait until it is renewed, which shows that its driver lives, or gone.

    For who comes after a driver that died with its machine. At most as long as a lease lives.
    """
    uri = uri_of(root)
    if uri is None or not (root / name).exists():
        return
    from sweep.object_store.store import open_store

    lease = Lease(open_store(uri).folder(name, "lease"), expiry_s=expiry_s)
    first = found = lease.holder()
    if first is not None:
        say(f"sweep {name} was driven by {first}; waiting to see whether it still is", sys.stderr)
    while first is not None and found is not None and found.written == first.written:
        time.sleep(look_s)
        found = lease.holder()


def refresh_all(root: Path) -> None:
    """`refresh` of every sweep, the one that was driven last at the end."""
    if (uri := uri_of(root)) is None:
        return
    from sweep.object_store.store import open_store

    store = open_store(uri)

    def changed(name: str) -> float:
        return max((each.written for each in store.folder(name, "driver").objects()), default=0.0)

    here = {folder.parent.name for folder in root.glob("*/sweep.json")}
    for name in sorted({*store.folders(), *here}, key=changed):
        refresh(root, name)


def check_writable(root: Path) -> None:
    """Whether a new sweep can be made at a root's URI. Of a path: nothing.

    Raises:
        StorageFault: nothing can be written there.
    """
    if (uri := uri_of(root)) is None:
        return
    from sweep.object_store.store import open_store

    store = open_store(uri)
    store.write("stsweep-check", b"")
    store.remove(["stsweep-check"])
