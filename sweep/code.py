"""The code that goes along to workers and clusters: the files of the four packages as they lie here. Loads no Ray."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from sweep.guard import HOME, SIBLINGS


def code_files() -> dict[Path, int]:
    """Every file below `HOME` that goes along, sorted → its bytes.

    Whatever lies in the packages' folders does, also by a link, for a space of the user's may; hidden files (an
    editor's lock is a dangling link), caches and links to nothing do not.
    """
    folders = (HOME / name for name in ("sweep", *SIBLINGS))
    files = [file for folder in folders for file in _files(folder.resolve(), folder, frozenset())]
    return {file.relative_to(HOME): file.stat().st_size for file in sorted(files)}


def _files(real: Path, folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    if real in above:  # a link to a folder that it lies in
        return
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir():
            yield from _files(path.resolve(), path, above | {real})
        elif path.is_file():
            yield path


def copy_code(files: Mapping[Path, int], folder: Path) -> None:
    """Copy what `code_files` has found into a folder."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HOME / file, folder / file)
