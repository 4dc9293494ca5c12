"""What one machine says of itself. Runs here and in a worker of every node; loads neither Ray nor torch."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from model.cache import cache_dir
from sweep.passwords import without_passwords
from sweep.resources import cpus_here

PACKAGES = ("stsweep", "ray", "torch", "transformers", "accelerate", "optuna", "mlflow")
SHM = Path("/dev/shm")
RAY_FOLDER = "Ray's temporary folder"
CACHE = "cache"
ROOT = "root"
_GPU_FIELDS = "name,memory.total,driver_version"
_TORCH_GPUS = "import torch; print(torch.cuda.device_count())"
_COMMAND_S, _TORCH_S = 5.0, 60.0
"""A GPU's driver that hangs answers no program; torch is read from a disk that may be far away."""
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_mib: int
    driver: str


@dataclass(frozen=True)
class Disk:
    """What a file system has, in bytes."""

    path: str
    free: int
    total: int


@dataclass(frozen=True)
class Facts:
    """One machine, as the process that asks sees it.

    Attributes:
        host: Its name.
        versions: `python` and the packages that are installed.
        gpus: Those that the driver lists.
        torch_gpus: How many torch sees; None where that was not asked, for there are none.
        cpus: That the machine has.
        usable_cpus: That the process may run on.
        counted_cpus: That Ray counts, which heeds a container's quota.
        memory: Bytes, of the machine or the container.
        disks: What is kept where → the file system.
        unwritable: What is kept where → why it cannot be written.
        shm: Bytes of shared memory; None without /dev/shm.
        open_files: That a process may have.
        variables: `RAY_*` and `TUNE_*` of the process, without a token or a password.
    """

    host: str
    versions: Mapping[str, str]
    gpus: tuple[Gpu, ...]
    torch_gpus: int | None
    cpus: int
    usable_cpus: int
    counted_cpus: int
    memory: int
    disks: Mapping[str, Disk]
    unwritable: Mapping[str, str]
    shm: int | None
    open_files: int
    variables: Mapping[str, str]


def collect(root: str | None) -> Facts:
    """The facts of this machine; `root`: the folder of the sweeps, None where that is at a URI."""
    gpus = _gpus()
    kept = {CACHE: cache_dir(), RAY_FOLDER: Path(os.environ.get("RAY_TMPDIR") or "/tmp")}
    if root is not None:
        kept[ROOT] = Path(root)
    there = {what: existing(path) for what, path in kept.items()}
    return Facts(
        host=socket.gethostname(),
        versions=_versions(),
        gpus=gpus,
        torch_gpus=_torch_gpus() if gpus else None,
        cpus=os.cpu_count() or 1,
        usable_cpus=len(os.sched_getaffinity(0)),
        counted_cpus=cpus_here(),
        memory=_memory(),
        disks={what: _disk(path) for what, path in there.items()},
        unwritable={what: f"{path} cannot be written" for what, path in there.items() if not os.access(path, os.W_OK)},
        shm=shutil.disk_usage(SHM).total if SHM.is_dir() else None,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        variables={
            name: value
            for name, value in os.environ.items()
            if name.startswith(("RAY_", "TUNE_"))
            and not any(word in name for word in ("TOKEN", "PASSWORD"))
            and without_passwords(value) == value
        },
    )


def clock() -> float:
    """Seconds since the epoch by this machine."""
    return time.time()


def existing(path: Path) -> Path:
    """The path, or the folder above it that is there: a cache and a root are made when they are first used."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def parse_gpus(listed: str) -> tuple[Gpu, ...]:
    """What `nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits` prints."""
    found = []
    for line in listed.splitlines():
        name, _, rest = line.partition(",")
        memory, _, driver = rest.partition(",")
        if driver:
            found.append(Gpu(name.strip(), int(memory) if memory.strip().isdigit() else 0, driver.strip()))
    return tuple(found)


def _gpus() -> tuple[Gpu, ...]:
    command = ["nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(listed)


def _torch_gpus() -> int:
    """In a process of its own: whatever it takes of a GPU's memory is given back at once."""
    command = [sys.executable, "-c", _TORCH_GPUS]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_TORCH_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return int(said)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _memory() -> int:
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(there, int(_CGROUP_MEMORY.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # no such file, or "max"
        return there


def _disk(path: Path) -> Disk:
    usage = shutil.disk_usage(path)
    return Disk(str(path), usage.free, usage.total)
