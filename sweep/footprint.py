"""How many bytes a sweep takes: on the disk of its folder, and on the way to the workers. Loads no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.weights import weight_bytes
from sweep.code import code_files
from sweep.errors import Problem
from sweep.spec.misfits import values_of

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_ADAMW = 3
"""A checkpoint holds the weights and AdamW's two moments of each, all fp32."""
_REPLACED = 2
"""`model.checkpoint` keeps the old one until the new one is whole."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Disk:
    """What the sweep's folder holds at its fullest, in bytes; its rows and logs, some kilobytes a trial, are left out.

    Attributes:
        encoder: Weights of the largest encoder of the space; None where no file of it is on this disk.
        encoders: How many at most: `keep_best`, and one of each trial at once, which is written before another is
            dropped. All of them where the trials at once are not known, and with two objectives: all may be on the
            Pareto front, which is kept whole.
        trial: Of one running trial: its checkpoint and the one that replaces it.
        code: The copy of the code.
        peak: All of it; None where the encoder's size or the trials at once are not known.
        free: What the disk of the sweeps' root has left for it; None where nobody said which root.
    """

    encoder: int | None
    encoders: int
    trial: int | None
    code: int
    peak: int | None
    free: int | None


def disk_of(spec: SweepSpec, trials: int, at_once: int | None, root: Path | None, begun: Path | None = None) -> Disk:
    """What the folder of a sweep will hold, and what is free where it will lie.

    Args:
        spec: The sweep.
        trials: How many it has.
        at_once: How many run at once; None when that is not known.
        root: The folder of the sweeps; it may not exist yet.
        begun: The folder of a sweep that goes on; what it holds is its own already.
    """
    encoder, encoders = largest_encoder(spec), trials
    if at_once is not None and spec.objective.against is None:
        encoders = min(spec.keep_best + at_once, trials)
    trial = None if encoder is None else encoder * _ADAMW * _REPLACED
    code = sum(code_files().values())
    peak = None
    if encoder is not None and trial is not None and at_once is not None:
        peak = encoder * encoders + trial * min(at_once, trials) + code
    free = None if root is None else _free(root) + (0 if begun is None else _size(begun))
    return Disk(encoder, encoders, trial, code, peak, free)


def disk_problem(disk: Disk, root: Path) -> Problem | None:
    """The mistake of a sweep that its disk cannot hold, or None."""
    if disk.peak is None or disk.free is None or disk.peak <= disk.free:
        return None
    message = (
        f"the sweep's folder may hold {said_bytes(disk.peak)} and the disk of {root} has {said_bytes(disk.free)} free; "
        "make room, name a root on another disk, or lower keep_best or resources.concurrent"
    )
    return Problem(message, key="--root")


def largest_encoder(spec: SweepSpec) -> int | None:
    """Bytes of the weights of the largest encoder of the space, or None when one of them is not known."""
    names, cuts = values_of(spec, "encoder.name"), values_of(spec, "encoder.keep_layers")
    sizes = [weight_bytes(name, layers_of(cut)) for name in names for cut in cuts]
    known = [size for size in sizes if size is not None]
    return max(known) if len(known) == len(sizes) else None


def layers_of(cut: str | None) -> tuple[int, ...] | None:
    """`encoder.keep_layers` from its flat text."""
    return None if cut is None else tuple(int(layer) for layer in cut.split(","))


def upload_bytes() -> int:
    """Bytes of the four packages on their way to the workers."""
    return zip_bytes(code_files())


def zip_bytes(sizes: Mapping[Path, int]) -> int:
    """Bytes of files as Ray 2.60 sends them: zipped without compressing.

    (`ray._private.runtime_env.packaging._zip_files` opens its `ZipFile` with the default method, stored. PKWARE's
    APPNOTE, 4.3: 30 bytes and the name before a file, 46 and the name in the list, 22 at the end.)
    """
    return sum(size + 76 + 2 * len(str(file).encode()) for file, size in sizes.items()) + 22


def said_bytes(count: float) -> str:
    """Bytes for a person: `1.2 GB`, decimal units."""
    place = 0
    while count >= 999.5 and place + 1 < len(_UNITS):
        count, place = count / 1000, place + 1
    return f"{count:.1f} {_UNITS[place]}" if place and count < 9.95 else f"{count:.0f} {_UNITS[place]}"


def _free(root: Path) -> int:
    there = root.absolute()
    while not os.path.isdir(there):  # noqa: PTH112  Path.is_dir raises where a name is too long for a path
        there = there.parent
    return shutil.disk_usage(there).free


def _size(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):  # of another process's cleaning
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118
    return total
