"""The commands around sweeps on a cluster: submit, logs, stop."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli.app import (
    DEFAULT,
    Dashboard,
    DataDir,
    MaybeDashboard,
    Name,
    Root,
    Set,
    Spec,
    Trust,
    app,
    record_of,
    spec_path,
    with_data_dir,
)


@app.command()
def submit(
    spec: Spec,
    address: Dashboard,
    root: Annotated[str, typer.Option(help="Where the cluster keeps sweeps: an absolute path or a URI for all nodes.")],
    name: Annotated[str | None, typer.Option(help="Name of the sweep and the job; default: the spec's.")] = None,
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the log.")] = False,
    trust_remote_code: Trust = False,
) -> None:
    """Run a sweep on a Ray cluster as a job. Submitted again, it goes on; Ctrl-C stops following, not the sweep."""
    from sweep.spec.origin import told_where
    from sweep.submit import submit as submit_sweep

    path = spec_path(spec)
    with told_where(spec, path, changes):
        code = submit_sweep(
            path,
            with_data_dir(changes, data_dir),
            address=address,
            root=root,
            name=name,
            follow=not detach,
            trust_remote_code=trust_remote_code,
        )
    raise typer.Exit(code)


@app.command()
def logs(
    name: Name,
    address: Dashboard,
    follow: Annotated[bool, typer.Option("--follow", help="Print on until the sweep has ended.")] = False,
) -> None:
    """Print what a submitted sweep has printed."""
    from sweep.jobs import Jobs

    jobs = Jobs(address)
    jobs.get(name)
    if follow:
        raise typer.Exit(jobs.follow(name))
    print(jobs.log(name), end="")


@app.command()
def stop(name: Name, root: Root = DEFAULT, address: MaybeDashboard = None) -> None:
    """Close a sweep of this machine or, with --address, a submitted one: running trials save a checkpoint."""
    from sweep.jobs import Jobs
    from sweep.stop import stop_driver

    print(stop_driver(record_of(root, name)) if address is None else Jobs(address).stop(name))
