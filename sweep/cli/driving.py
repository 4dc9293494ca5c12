"""The commands that drive a sweep: run, resume, extend."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli.app import (
    DEFAULT,
    Address,
    DataDir,
    Name,
    Root,
    Set,
    Spec,
    Trust,
    app,
    command_line,
    load,
    spec_path,
    with_data_dir,
)
from sweep.object_store.root import root_folder


@app.command()
def run(
    spec: Spec,
    name: Annotated[str | None, typer.Option(help="Name of the sweep; default: the spec's.")] = None,
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    root: Root = DEFAULT,
    address: Address = None,
    or_resume: Annotated[
        bool, typer.Option("--or-resume", help="Go on with the sweep if the root has it, with the same spec.")
    ] = False,
    trust_remote_code: Trust = False,
) -> None:
    """Run a sweep to its end. Ctrl-C closes it, twice ends it at once; `stsweep resume` goes on."""
    from sweep.again import run_or_resume
    from sweep.run import run as run_sweep
    from sweep.spec.origin import told_where

    path = spec_path(spec)
    begin = run_or_resume if or_resume else run_sweep
    with told_where(spec, path, changes):
        code = begin(
            load(path, changes, data_dir),
            root=root_folder(root),
            name=name,
            address=address,
            command=command_line(),
            trust_remote_code=trust_remote_code,
        )
    raise typer.Exit(code)


@app.command()
def resume(
    name: Name,
    spec: Annotated[
        str | None, typer.Option("--spec", metavar="SPEC", help="Go on with this file, whose space must be the same.")
    ] = None,
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    root: Root = DEFAULT,
    address: Address = None,
    trust_remote_code: Trust = False,
) -> None:
    """Go on with a sweep that was closed or killed: what has ended stays, the rest continues from its checkpoints."""
    from sweep.run import resume as resume_sweep

    given = load(spec_path(spec), changes, data_dir) if spec else None
    code = resume_sweep(
        root_folder(root),
        name,
        spec=given,
        changes=with_data_dir(changes, data_dir),
        address=address,
        command=command_line(),
        trust_remote_code=trust_remote_code,
    )
    raise typer.Exit(code)


@app.command()
def extend(
    name: Name,
    trials: Annotated[int, typer.Option(min=1, help="How many more.")],
    changes: Set = [],  # noqa: B006
    root: Root = DEFAULT,
    address: Address = None,
    trust_remote_code: Trust = False,
) -> None:
    """Give a sweep more trials, and go on with it."""
    from sweep.run import resume as resume_sweep

    code = resume_sweep(
        root_folder(root),
        name,
        changes=changes,
        more_trials=trials,
        address=address,
        command=command_line(),
        trust_remote_code=trust_remote_code,
    )
    raise typer.Exit(code)
