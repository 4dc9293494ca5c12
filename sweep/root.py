"""The root: a folder with one folder a sweep. Which sweeps it has, whether another fits in, how a command names one."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from tempfile import TemporaryFile

from sweep.cluster import job_has_working_dir
from sweep.errors import Problem, Refused, nearest
from sweep.object_store.root import check_writable, refresh, refresh_all, uri_of
from sweep.object_store.uri import check_uri, is_uri

DEFAULT_ROOT = Path("sweeps")
ROOT_VARIABLE = "STSWEEP_ROOT"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""As `SweepSpec.name`: one plain folder name anywhere, on a shell's command line and in an address too."""
_NOT_OURS = ("mlflow", "mlartifacts")
"""How MLflow's own files in a root begin."""


def said_root(root: Path) -> str:
    """What a person calls a root."""
    return uri_of(root) or str(root)


def said_place(folder: Path) -> str:
    """Where the record of a sweep's folder is, for a person."""
    return f"{said_root(folder.parent)}/{folder.name}"


def sweep_names(root: Path) -> list[str]:
    """Names of the sweeps in a root, the one that was driven last at the end; none where there is no such folder.

    Raises:
        Refused: the root is no folder.
    """
    if not os.path.isdir(root):  # noqa: PTH112  Path.is_dir raises where a name is too long for a path
        if os.path.lexists(root):
            raise _no_folder(root, "is not a folder")
        return []
    found = [path.parent for path in root.glob("*/sweep.json")]
    return [folder.name for folder in sorted(found, key=lambda folder: (folder / "sweep.json").stat().st_mtime)]


def argument(folder: Path) -> str:
    """What a command calls the sweep of `folder`: NAME, and `--root` unless the command looks there by itself."""
    looked_at, uri = os.environ.get(ROOT_VARIABLE) or str(DEFAULT_ROOT), uri_of(folder.parent)
    if uri is not None:
        known = is_uri(looked_at) and check_uri(looked_at) == uri
    else:
        known = Path(looked_at).absolute() == folder.parent.absolute()
    return shlex.quote(folder.name) + ("" if known else f" --root {shlex.quote(uri or str(folder.parent))}")


def check_absolute(root: Path) -> None:
    """Refuse a root that goes with the job: Ray copies `--working-dir` to a temporary folder and runs there."""
    if job_has_working_dir() and not root.is_absolute():
        message = f"{str(root)!r} lies in the job's temporary working directory and would be lost with it"
        raise Refused([Problem(message, key="--root")], next="stsweep run SPEC --root /a/folder/that/stays")


def check_root(root: Path) -> None:
    """Refuse a root in which no new sweep could be made; a root that is not there yet is not made.

    Raises:
        Refused: nothing can be written there, or it would be lost.
    """
    check_absolute(root)
    there = root.absolute()
    try:
        while not there.is_symlink() and not there.exists():
            there = there.parent
        TemporaryFile(dir=there).close()  # has no name: nothing is left
    except OSError as error:
        raise _no_folder(root, f"cannot be written to: {os.strerror(error.errno or 0)}") from None
    check_writable(root)


def check_name(root: Path, name: str) -> None:
    """Refuse a name that no new sweep of the root can have.

    Raises:
        Refused: it is no plain name, or taken.
    """
    if not _NAME.fullmatch(name) or name.startswith(_NOT_OURS):
        allowed = "a-z, 0-9, '.', '_' and '-', the first a letter or a digit, at most 64 characters"
        if name.startswith(_NOT_OURS):
            allowed = "another, for MLflow's own files in the root are called so"
        usable = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-")[:60] or "sweep"
        if usable.startswith(_NOT_OURS):
            usable = f"my-{usable}"
        raise Refused(
            [Problem(f"{name[:80]!r} is not allowed; give {allowed}", key="--name")],
            next=f"stsweep run SPEC --name {argument(root / usable)}",
        )
    refresh(root, name)
    if os.path.lexists(root / name):
        raise name_is_taken(root / name)


def make_folder(root: Path, name: str) -> Path:
    """The folder of a new sweep, made by this call and no other.

    Raises:
        Refused: the name cannot be had, or nothing can be written there.
    """
    check_name(root, name)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(root, f"cannot be made: {os.strerror(error.errno or 0)}") from None
    try:
        (root / name).mkdir(mode=0o755)  # `why_unsafe` refuses what everyone may write
    except FileExistsError:
        raise name_is_taken(root / name) from None
    except OSError as error:
        raise _no_folder(root, f"cannot be written to: {os.strerror(error.errno or 0)}") from None
    return root / name


def no_such_sweep(root: Path, name: str) -> Refused:
    """The refusal for a name that no sweep has, with those that there are."""
    refresh_all(root)
    names = sweep_names(root)
    newest = ", ".join(reversed(names[-8:])) + (", …" if len(names) > 8 else "")
    known = f"which has {newest}{nearest(name, names)}" if names else "which has none yet"
    is_file = "; a file to go on with is given by --spec" if name.endswith((".yaml", ".yml")) else ""
    return Refused(
        [Problem(f"there is no sweep {name!r} in {said_root(root)}, {known}{is_file}")],
        next=f"stsweep ls --root {shlex.quote(said_root(root))}",
    )


def name_is_taken(folder: Path) -> Refused:
    """The refusal for a name that exists already, with a free one."""
    number = next(n for n in range(2, 10_000) if not folder.with_name(f"{folder.name}-{n}").exists())
    free = argument(folder.with_name(f"{folder.name}-{number}"))
    is_sweep = (folder / "sweep.json").exists()
    what = f"a sweep {folder.name!r} exists" if is_sweep else f"{folder.name!r}, which is no sweep, exists"
    other = f", or stsweep status {argument(folder)}" if is_sweep else ""
    return Refused(
        [Problem(f"{what} already in {said_root(folder.parent)}; nothing was changed", key="--name")],
        next=f"stsweep run SPEC --name {free}{other}",
    )


def _no_folder(root: Path, why: str) -> Refused:
    return Refused(
        [Problem(f"{root} {why}; give a folder that you may write to", key="--root")],
        next=f"the same command with another --root, or without it and {ROOT_VARIABLE}: then it is ./{DEFAULT_ROOT}",
    )
