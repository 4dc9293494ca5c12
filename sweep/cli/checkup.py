"""The command doctor: this machine and every node of a cluster, before a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sweep.cli.app import DEFAULT, Json, Root, app
from sweep.say import say

Cluster = Annotated[
    str | None,
    typer.Option("--address", envvar="RAY_ADDRESS", metavar="HOST:PORT|auto", help="Ask every node of this Ray too."),
]
ClusterFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Only look for mistakes in a file for `ray up`, and start nothing.")
]


@app.command()
def doctor(
    address: Cluster = None, root: Root = DEFAULT, as_json: Json = False, cluster_file: ClusterFile = None
) -> None:
    """Say what of this machine, or with --address of every node, would trouble a sweep, each with its remedy."""
    if cluster_file is not None:
        from sweep.doctor.cluster_file import check_cluster_file

        check_cluster_file(cluster_file)
        print(f"{cluster_file}: Ray's launcher knows all that it says\nNext: ray up {cluster_file}")
        return
    from sweep.doctor.examine import examine

    found = examine(address, root)
    say(json.dumps(found.to_json(), indent=2) if as_json else found.to_text())
    raise typer.Exit(found.exit_code)
