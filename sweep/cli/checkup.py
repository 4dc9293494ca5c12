"""The command doctor: this machine and every node of a cluster, before a sweep."""

from __future__ import annotations

import json

import typer

from sweep.cli.app import DEFAULT, Address, Json, Root, app
from sweep.object_store.root import root_folder


@app.command()
def doctor(address: Address = None, root: Root = DEFAULT, as_json: Json = False) -> None:
    """Say what of this machine, or with --address of every node, would trouble a sweep, each with its remedy."""
    from sweep.doctor.examine import examine

    found = examine(address, root_folder(root))
    print(json.dumps(found.to_json(), indent=2) if as_json else found.to_text())
    raise typer.Exit(found.exit_code)
