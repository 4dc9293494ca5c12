"""What goes to a cluster: the four packages, of a submitted sweep its spec too, and nothing else. Loads no Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.code import code_files, copy_code
from sweep.errors import Problem, Refused
from sweep.footprint import said_bytes, zip_bytes
from sweep.guard import HOME

LIMIT_BYTES = 5_000_000
"""Of a submitted sweep."""
RAYS_LIMIT_BYTES = 500_000_000
"""Of what Ray 2.60 hands to workers (`GCS_STORAGE_MAX_SIZE`, 512 MiB)."""
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

    A corpus or an environment that somebody put into the packages' folders shows by its size, before it is copied.

    Raises:
        Refused: it is over the limit; the largest files are named.
    """
    with TemporaryDirectory(prefix="stsweep-") as name:
        folder = Path(name)
        sizes = copy_limited(folder, LIMIT_BYTES)
        spec = spec_yaml.encode()
        (folder / SPEC_FILE).write_bytes(spec)
        sizes |= {Path(SPEC_FILE): len(spec)}
        yield Upload(folder, len(sizes), zip_bytes(sizes))


def copy_limited(folder: Path, limit: int) -> dict[Path, int]:
    """Copy the code into a folder unless it is more than may be sent; its files → their bytes.

    Raises:
        Refused: it is; nothing was copied, and the largest files are named.
    """
    sizes = code_files()
    if zip_bytes(sizes) > limit:
        raise _too_large(sizes, limit)
    copy_code(sizes, folder)
    return sizes


def _too_large(sizes: Mapping[Path, int], limit: int) -> Refused:
    largest = sorted(sizes, key=lambda path: -sizes[path])[:_LISTED]
    listed = "\n".join(f"{said_bytes(sizes[path]):>8}  {HOME / path}" for path in largest)
    return Refused(
        [
            Problem(
                f"the upload would be {said_bytes(sum(sizes.values()))}, and at most {said_bytes(limit)} is "
                f"sent: the code and the spec, no data and no environment; the largest files:\n{listed}"
            )
        ],
        next="move them out of the packages' folders to where the cluster's nodes see them, then the same command",
    )
