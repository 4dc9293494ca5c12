"""What a worker writes into its trial's folder beside rows: whole or not at all, and not after another took over."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.files import write_whole
from sweep.trial_record import ATTEMPT, ERROR

if TYPE_CHECKING:
    from model.encoder import Encoder


class UnsharedError(FileNotFoundError):
    """This node does not have the trial's folder."""


class SupersededError(Exception):
    """Another attempt at this trial has begun, on another node: this one was cut off, and writes no more."""


def check_newest(folder: Path, number: int | None) -> None:
    """Before something is written: a worker that the network cut off may have lost its trial to another one.

    Args:
        folder: the trial's.
        number: of the attempt that wants to write; None: nobody else makes one.

    Raises:
        SupersededError: it is not the newest.
    """
    if number is None:
        return
    newest = int((folder / ATTEMPT).read_text(encoding="utf-8"))
    if newest != number:
        raise SupersededError(f"attempt {number} was superseded by attempt {newest}")


def check_shared(folder: Path) -> None:
    """Before an attempt: whether this node has the trial's folder, which the driver made.

    Raises:
        UnsharedError: it has not; it joined later than the sweep began, say.
    """
    if not folder.is_dir():
        host = socket.gethostname()
        raise UnsharedError(
            f"{host} does not have the trial's folder {folder}: this node does not share the sweep's storage. "
            f"Mount it there, or take {host} out of the cluster"
        )


def tidy(folder: Path) -> None:
    """Remove what an earlier attempt left unfinished, and why it failed."""
    from model.checkpoint import tidy_checkpoint

    tidy_checkpoint(folder / "checkpoint")
    shutil.rmtree(_unfinished(folder / "encoder"), ignore_errors=True)
    (folder / ERROR).unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """What an ended trial's attempts left: nothing continues from it any more."""
    for name in ("checkpoint", ".checkpoint.part", ".checkpoint.old", ".encoder"):
        shutil.rmtree(folder / name, ignore_errors=True)


def keep_error(folder: Path, text: str) -> None:
    """Keep what went wrong first; what follows from it is not why."""
    if not (folder / ERROR).exists():
        write_whole(folder / ERROR, text)


def checkpoint_fault(folder: Path) -> str | None:
    from model.checkpoint import DamagedError, check_checkpoint

    try:
        check_checkpoint(folder)
    except DamagedError as error:
        return str(error)
    return None


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}")


def save_whole(encoder: Encoder, folder: Path) -> None:
    from model.cache import sync
    from model.encoder import save_encoder

    unfinished = _unfinished(folder)
    save_encoder(encoder, unfinished)
    for path in (*unfinished.iterdir(), unfinished):
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed before its row was written
    unfinished.replace(folder)
    sync(folder.parent)
