"""The command line's application, the options that several commands share, and what they make of them."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.address import cluster_address, parse_address
from sweep.errors import Problem, Refused, nearest
from sweep.object_store.root import root_folder
from sweep.passwords import without_passwords
from sweep.root import DEFAULT_ROOT, ROOT_VARIABLE
from sweep.say import say

if TYPE_CHECKING:
    from sweep.record import Record
    from sweep.spec.sweep_spec import SweepSpec


def _of_cluster(given: str | None) -> str | None:
    found = cluster_address(given)
    if given == "auto":
        say(f"note: --address auto is {found or 'this machine'}", sys.stderr)
    return found


def _of_dashboard(given: str | None) -> str | None:
    """As it was given, if it is an address."""
    if given is not None:
        parse_address(given)
    return given


app = typer.Typer(
    name="stsweep",
    help="Hyperparameter sweeps for sentence encoders trained without labels: Ray Tune, Optuna, ASHA, MLflow.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A YAML file, or the name of a shipped search space.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The sweep's name; `stsweep ls` lists them.")]
Root = Annotated[
    str,
    typer.Option(
        envvar=ROOT_VARIABLE, metavar="FOLDER|URI", help="Where sweeps are kept: a folder, or s3://, gs://, file:///."
    ),
]
DEFAULT = str(DEFAULT_ROOT)
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a knob or a key of the spec.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of STS data in the SentEval layout; default: the spec's, then STSWEEP_DATA.")
]
Address = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        metavar="HOST:PORT|auto",
        callback=_of_cluster,
        help="A running Ray cluster, auto: the one of this machine; default: this machine alone.",
    ),
]
Dashboard = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar=["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
        callback=_of_dashboard,
        help="The cluster's dashboard, http://HOST:8265.",
    ),
]
MaybeDashboard = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="URL", callback=_of_dashboard, help="Ask the cluster of this dashboard, http://HOST:8265."
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that a model's own files bring; it can do anything."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def spec_path(spec: str) -> Path:
    """The file of that name, or of a shipped search space when there is none."""
    import search_spaces

    shipped = search_spaces.names()
    if os.path.lexists(spec) or not (spec in shipped or nearest(spec, shipped)):
        return Path(spec)
    if spec not in shipped:
        message = f"no such file, and no shipped search space{nearest(spec, shipped)}; shipped: {', '.join(shipped)}"
        raise Refused([Problem(message, spec)], next="stsweep check SPEC, of a file or of one of these")
    return search_spaces.folder() / f"{spec}.yaml"


def load(path: Path, changes: list[str], data_dir: Path | None) -> SweepSpec:
    """The spec of a file; `--data-dir` fills `data_dir`."""
    from sweep.spec.sweep_spec import load_spec

    return load_spec(path, with_data_dir(changes, data_dir))


def with_data_dir(changes: list[str], data_dir: Path | None) -> list[str]:
    """`--data-dir` as one more `--set`, unless one says it already."""
    given = any(change.startswith("data_dir=") for change in changes)
    return changes if data_dir is None or given else [*changes, f"data_dir={data_dir}"]


def record_of(root: str, name: str) -> Record:
    from sweep.record import Record

    return Record.open(root_folder(root), name)


def command_line() -> str:
    """What was typed, for the record and for messages."""
    return without_passwords(shlex.join(["stsweep", *sys.argv[1:]]))
