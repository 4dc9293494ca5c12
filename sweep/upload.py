"""What a submitted sweep takes along: the four packages and the resolved spec, and nothing else. Loads no Ray."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.errors import Problem, Refused
from sweep.footprint import said_bytes, zip_bytes
from sweep.guard import HOME, SIBLINGS

LIMIT_BYTES = 5_000_000
SPEC_FILE = "spec.yaml"
"""Of the resolved spec, beside the packages."""

_LISTED = 5


@dataclass(frozen=True)
class Upload:
    """What becomes a job's working directory: the folder, how many files it has, and their bytes on the way."""

    folder: Path
    files: int
    bytes: int


@contextmanager
def packed(spec_yaml: str) -> Iterator[Upload]:
    """The upload in a temporary folder, which is gone after the block.

    Whatever lies in the packages' folders is taken, for a space of the user's may; so a corpus or an environment that
    somebody put there shows by its size.

    Raises:
        Refused: it is over the limit; the largest files are named.
    """
    with TemporaryDirectory(prefix="stsweep-") as name:
        folder = Path(name)
        for package in ("sweep", *SIBLINGS):
            shutil.copytree(HOME / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        (folder / SPEC_FILE).write_text(spec_yaml, encoding="utf-8")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sizes = {path: path.stat().st_size for path in files}
        if sum(sizes.values()) > LIMIT_BYTES:  # before it is zipped in memory
            raise _too_large(folder, sizes)
        count = zip_bytes(files, folder)
        if count > LIMIT_BYTES:
            raise _too_large(folder, sizes)
        yield Upload(folder, len(files), count)


def _too_large(folder: Path, sizes: dict[Path, int]) -> Refused:
    largest = sorted(sizes, key=lambda path: -sizes[path])[:_LISTED]
    listed = "\n".join(f"{said_bytes(sizes[path]):>8}  {HOME / path.relative_to(folder)}" for path in largest)
    return Refused(
        [
            Problem(
                f"the upload would be {said_bytes(sum(sizes.values()))}, and at most {said_bytes(LIMIT_BYTES)} is "
                f"sent: the code and the spec, no data and no environment; the largest files:\n{listed}"
            )
        ],
        next="move them out of the packages' folders to where the cluster's nodes see them, then submit again",
    )
