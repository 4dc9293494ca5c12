"""Where a sweep's record lies in a store, and who writes what there.

    ROOT/NAME/ in the store
        driver/                     what is no trial's: sweep.json, spec.yaml, sessions, baselines, …  (SharedFolder)
        lease/                      who drives it (Lease)
        pause/000004                the fourth driver closes its sweep: workers save a checkpoint and end
        trials/0007/asked/          what the driver says of a trial: trial.json, end.json, deaths  (SharedFolder)
        trials/0007/trained/        what its worker has: rows, checkpoint, encoder, errors  (SharedFolder)

Who writes has a number: a driver one that is above all before it, a worker its driver's and how many attempts that one
has begun. So whatever an old driver or a lost worker still writes counts no more (`sweep.object_store.folder`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.deaths import FILE as DEATHS
from sweep.object_store.folder import SharedFolder
from sweep.object_store.store import Store
from sweep.trial_record import ATTEMPT, BUSY, NO_MEMORY

ASKED = ("trial.json", "end.json", ATTEMPT, DEATHS, NO_MEMORY)
"""Files of a trial that its driver writes; all others are its worker's."""
_DRIVER = ("sweep.json", "spec.yaml", "sessions.jsonl", "driver.json", "warm_start.json", "baselines.json")
_CURSOR = "mlflow.json"

_WRITERS = 1_000_000
"""More than one driver has."""
Role = Literal["trains", "judges", "takes back"]
"""Who writes what a trial has trained: its worker; of several workers whoever waits for them, when they have failed;
and the driver, when the attempt is over."""


@dataclass(frozen=True)
class Place:
    """Where the workers of one driver find its sweep."""

    uri: str
    """The root's."""
    sweep: str
    session: int
    """Which driver it is, counted from 1."""

    def writer(self, attempt: int, role: Role) -> int:
        """The number under which somebody writes what a trial has trained.

        A later driver's are higher, then a later attempt's, then that of who comes later within one.
        """
        return self.session * _WRITERS + 4 * attempt + ("trains", "judges", "takes back").index(role)


def driver_folder(store: Store, local: Path) -> SharedFolder:
    """What is no trial's. `store`: the sweep's."""
    return SharedFolder(local, store.folder("driver"), only=driver_files(local))


def driver_files(local: Path) -> tuple[str, ...]:
    """The files that are no trial's, as the spec stands.

    What MLflow has been sent is among them unless its store is one of this machine, which says nothing to another one.
    """
    from sweep.spec.yaml_file import read_yaml

    spec = local / "spec.yaml"
    uri = read_yaml(spec).data.get("tracking_uri") if spec.exists() else None
    is_here = uri is None or str(uri).startswith(("sqlite:", "file:", "/"))
    return _DRIVER if is_here else (*_DRIVER, _CURSOR)


def asked_folder(store: Store, number: int, local: Path) -> SharedFolder:
    """What the driver says of a trial. `store`: the sweep's."""
    return SharedFolder(local, store.folder("trials", f"{number:04d}", "asked"), only=ASKED)


def trained_folder(store: Store, number: int, local: Path) -> SharedFolder:
    """What a trial's worker has. `store`: the sweep's."""
    return SharedFolder(local, store.folder("trials", f"{number:04d}", "trained"), but=ASKED)


def pause_name(session: int) -> str:
    """The object that asks a driver's workers to save a checkpoint and end."""
    return f"pause/{session:06d}"


def is_checkpoint(path: str) -> bool:
    return path.startswith("checkpoint/")


def is_encoder(path: str) -> bool:
    return path.startswith("encoder/")


def is_needed_to_go_on(path: str) -> bool:
    """What every rank reads; rows and the like the first one alone."""
    return is_checkpoint(path) or path == BUSY


def is_judged(path: str) -> bool:
    """Rows and what went wrong; of a checkpoint only which one it is."""
    return path == "checkpoint/manifest.json" or not (is_checkpoint(path) or is_encoder(path))
