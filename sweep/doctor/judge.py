"""What is right and wrong with the facts of machines: lines of `ok`, `warn` and `bad`, each with its remedy. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sweep.doctor.facts import PACKAGES, RAY_FOLDER, ROOT, Disk, Facts
from sweep.footprint import said_bytes

Level = Literal["ok", "warn", "bad"]
LEVELS: tuple[Level, ...] = ("ok", "warn", "bad")

MUST_EQUAL = ("python", "ray")
"""Ray refuses a driver whose own or whose Python's version differs (ray/_private/utils.py, `check_version_info`)."""
WORKERS_NEED = ("ray", "torch", "transformers", "accelerate")
CLOCK_WARN_S, CLOCK_BAD_S = 1.0, 10.0
_GIB = 2**30
_DISK_WARN, _DISK_BAD = 10 * _GIB, _GIB
_RAY_DISK_SHARE = 0.95
"""Full to so much, a disk takes nothing more of Ray's (`local_fs_capacity_threshold`)."""
_SHM_SHARE = 0.3
"""Of the memory: with less Ray warns, and keeps objects on a disk (ray/_private/services.py)."""
_FILES_WARN, _FILES_BAD = 4096, 256
_SOCKET_PATH = 107
_SOCKET_BELOW = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
HARMFUL = {
    "RAY_AUTH_MODE": ("disabled", "whoever reaches Ray's ports runs code here"),
    "RAY_memory_monitor_refresh_ms": (
        "0",
        "the kernel, not Ray, then ends whatever takes the last memory",
    ),
    "RAY_CLIENT_MODE": ("1", "ray.init then waits for a Ray client's server"),
}
"""Variable → the value that does harm, and which."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        level: `bad` keeps a sweep from running or loses results.
        check: What it was; the same name on every machine.
        where: `here`, or the node.
        found: What is so.
        remedy: A command or what else to do; None where nothing is to be done.
    """

    level: Level
    check: str
    where: str
    found: str
    remedy: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def worst(lines: Sequence[Line]) -> Level:
    return max((line.level for line in lines), key=LEVELS.index, default="ok")


def judge_machine(facts: Facts, where: str, sets: Mapping[str, str]) -> Iterator[Line]:
    """Every line of one machine.

    Args:
        facts: its own.
        where: `here`, or the node.
        sets: variables that the program sets where a sweep starts, unless the environment has them already.
    """
    yield _gpus(facts, where)
    yield _cpus(facts, where)
    for what, disk in facts.disks.items():
        yield _disk(what, disk, facts.unwritable.get(what), where)
    yield _shm(facts, where)
    yield _open_files(facts, where)
    yield from _variables(facts, where, sets)


def judge_own_versions(here: Facts) -> Line:
    """What is installed on this machine."""
    missing = [name for name in PACKAGES if name not in here.versions]
    said = ", ".join(f"{name} {number}" for name, number in here.versions.items())
    if missing:
        return Line("bad", "versions", "here", f"{said}; {', '.join(missing)} missing", "pip install stsweep")
    return Line("ok", "versions", "here", said)


def judge_versions(there: Facts, where: str, here: Facts) -> Line:
    """What differs on a node; what only a driver needs may be missing there."""
    differing = {
        name: found
        for name, number in here.versions.items()
        if (found := there.versions.get(name)) != number and (found is not None or name in WORKERS_NEED)
    }
    if not differing:
        return Line("ok", "versions", where, "as here")
    said = ", ".join(f"{name} {found or 'missing'}, here {here.versions[name]}" for name, found in differing.items())
    hurts = any(found is None or name in MUST_EQUAL for name, found in differing.items())
    wanted = " ".join(f"{name}=={here.versions[name]}" for name in differing if name != "python")
    remedy = f"on the node: pip install {wanted}" if wanted else "the same Python on every node"
    return Line("bad" if hurts else "warn", "versions", where, said, remedy)


def judge_clock(where: str, offset_s: float, uncertain_s: float) -> Line:
    """A node's clock against the driver's, whose times stand side by side in the record.

    Args:
        where: the node.
        offset_s: seconds by which its clock is ahead.
        uncertain_s: half of the round trip in which it was asked.
    """
    said = f"{offset_s:+.2f} s against here (± {uncertain_s:.2f} s)"
    sure = max(0.0, abs(offset_s) - uncertain_s)
    level: Level = "bad" if sure > CLOCK_BAD_S else "warn" if sure > CLOCK_WARN_S else "ok"
    remedy = None if level == "ok" else "set both by NTP: timedatectl set-ntp true"
    return Line(level, "clock", where, said, remedy)


def _gpus(facts: Facts, where: str) -> Line:
    if not facts.gpus:
        return Line("ok", "gpus", where, "none: training on the processor")
    kinds = {gpu: facts.gpus.count(gpu) for gpu in facts.gpus}
    said = ", ".join(
        f"{count} × {gpu.name} ({said_bytes(gpu.memory_mib * 2**20)}, driver {gpu.driver})"
        for gpu, count in kinds.items()
    )
    if facts.torch_gpus == len(facts.gpus):
        return Line("ok", "gpus", where, f"{said}; torch sees {facts.torch_gpus}")
    remedy = "pip install a torch that is built for this driver (https://pytorch.org/get-started), or a newer driver"
    if facts.torch_gpus:
        remedy = "unset CUDA_VISIBLE_DEVICES, if all of them are meant"
    return Line("warn" if facts.torch_gpus else "bad", "gpus", where, f"{said}; torch sees {facts.torch_gpus}", remedy)


def _cpus(facts: Facts, where: str) -> Line:
    said = f"{facts.cpus}"
    if facts.counted_cpus < facts.cpus:
        said += f", {facts.counted_cpus} by the container's quota"
    if facts.usable_cpus >= facts.counted_cpus:
        return Line("ok", "cpus", where, said)
    remedy = f"--set resources.concurrent=N for {facts.usable_cpus} CPUs, or ray start --num-cpus={facts.usable_cpus}"
    return Line("warn", "cpus", where, f"{said}, of which this process may use {facts.usable_cpus}", remedy)


def _disk(what: str, disk: Disk, unwritable: str | None, where: str) -> Line:
    check = f"disk of {what}"
    if unwritable:
        return Line("bad", check, where, unwritable, _elsewhere(what))
    said = f"{said_bytes(disk.free)} free of {said_bytes(disk.total)} at {disk.path}"
    is_full = what == RAY_FOLDER and disk.free < (1 - _RAY_DISK_SHARE) * disk.total
    if disk.free < _DISK_BAD:
        return Line("bad", check, where, said, f"make room, or {_elsewhere(what)}")
    if is_full:
        return Line("warn", check, where, f"{said}: Ray takes it for full", f"make room, or {_elsewhere(what)}")
    if disk.free < _DISK_WARN:
        return Line("warn", check, where, said, "stsweep check SPEC says what a sweep takes")
    return Line("ok", check, where, said)


def _elsewhere(what: str) -> str:
    return {ROOT: "give another --root", RAY_FOLDER: "export RAY_TMPDIR=/SHORT/FOLDER"}.get(
        what, "export STSWEEP_CACHE=FOLDER"
    )


def _shm(facts: Facts, where: str) -> Line:
    wanted = max(1, math.ceil(_SHM_SHARE * facts.memory / _GIB))
    remedy = f"docker run --shm-size={wanted}g, or mount -o remount,size={wanted}g /dev/shm"
    if facts.shm is None:
        return Line("warn", "shared memory", where, "no /dev/shm: Ray keeps objects on a disk", remedy)
    said = f"{said_bytes(facts.shm)} of {said_bytes(facts.memory)} memory"
    if facts.shm >= _SHM_SHARE * facts.memory:
        return Line("ok", "shared memory", where, said)
    return Line("warn", "shared memory", where, f"{said}: less than {_SHM_SHARE:.0%}, Ray then uses a disk", remedy)


def _open_files(facts: Facts, where: str) -> Line:
    limit = facts.open_files
    level: Level = "bad" if limit < _FILES_BAD else "warn" if limit < _FILES_WARN else "ok"
    remedy = None if level == "ok" else "ulimit -n 65536, before Ray is started"
    return Line(level, "open files", where, f"{limit} a process", remedy)


def _variables(facts: Facts, where: str, sets: Mapping[str, str]) -> Iterator[Line]:
    found = 0
    for name, value in facts.variables.items():
        why = None
        if name in HARMFUL and value == HARMFUL[name][0]:
            why = HARMFUL[name][1]
        elif name in sets and value != sets[name]:
            why = f"a sweep relies on {sets[name]}"
        elif name == "RAY_TMPDIR" and len(value) + _SOCKET_BELOW > _SOCKET_PATH:
            why = f"too long for the paths of Ray's sockets, at most {_SOCKET_PATH - _SOCKET_BELOW} characters"
        if why is not None:
            found += 1
            level: Level = "bad" if name == "RAY_TMPDIR" else "warn"
            yield Line(level, "variables", where, f"{name}={value}: {why}", f"unset {name}")
    if not found:
        yield Line("ok", "variables", where, "none that is known to do harm")
