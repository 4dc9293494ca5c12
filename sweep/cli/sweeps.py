"""The commands around sweeps: check, ls, status, best, compare, train, export, ui, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sweep.cli.app import (
    DEFAULT,
    Address,
    DataDir,
    Json,
    MaybeDashboard,
    Name,
    Root,
    Set,
    Spec,
    Trust,
    app,
    command_line,
    load,
    record_of,
    spec_path,
)
from sweep.object_store.root import root_folder


@app.command()
def check(
    spec: Spec,
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    root: Root = DEFAULT,
    address: Address = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Train a few steps of the largest configuration: hours, memory, cost.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(help="Refuse a sweep that is expected to cost more; needs --probe.")
    ] = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Say what a sweep would do and take, and every mistake, before anything starts."""
    from sweep.growth import check_fits
    from sweep.plan_text import plan_json, plan_text
    from sweep.probe import check_cost, check_cost_asked
    from sweep.probe import probe as measure_sweep
    from sweep.spec.check import check as check_spec
    from sweep.spec.origin import told_where

    path = spec_path(spec)
    with told_where(spec, path, changes):
        given = load(path, changes, data_dir)
        check_cost_asked(given, max_cost, command_line(), probed=probe, address=address)
        plan = check_spec(given, address=address, root=root_folder(root), trust_remote_code=trust_remote_code)
        estimate = None
        if probe:
            estimate = measure_sweep(given, plan.at_once, trust_remote_code=trust_remote_code)
        if address is not None:
            check_fits(given, address)
    if estimate is not None:
        check_cost(given, estimate, max_cost, command_line())
    print(json.dumps(plan_json(plan, estimate), indent=2) if as_json else plan_text(plan, estimate))


@app.command(name="ls")
def list_sweeps(root: Root = DEFAULT, as_json: Json = False) -> None:
    """List the sweeps of a root."""
    from sweep.show import sweeps_json, sweeps_text

    folder = root_folder(root)
    print(json.dumps(sweeps_json(folder), indent=2) if as_json else sweeps_text(folder))


@app.command()
def status(name: Name, root: Root = DEFAULT, address: MaybeDashboard = None, as_json: Json = False) -> None:
    """Show every trial of a sweep and how far it is; with --address, the job of a submitted one and its last lines."""
    from sweep.show import status_json, status_text

    if address is not None:
        from sweep.jobs import Jobs

        jobs = Jobs(address)
        print(json.dumps(jobs.status_json(name), indent=2) if as_json else jobs.status_text(name))
        return
    record = record_of(root, name)
    print(json.dumps(status_json(record), indent=2) if as_json else status_text(record))


@app.command()
def best(name: Name, root: Root = DEFAULT, as_json: Json = False) -> None:
    """Show the best trial: the highest score among those that reached the top rung."""
    from sweep.show import best_json, best_text

    record = record_of(root, name)
    print(json.dumps(best_json(record), indent=2) if as_json else best_text(record))


@app.command()
def compare(
    name: Name,
    root: Root = DEFAULT,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show all trials side by side, with the knobs that were searched."""
    from sweep.frame import trials_frame

    record = record_of(root, name)
    frame = trials_frame(record)
    if as_json:
        whole = frame.reset_index().astype(object)  # pandas' own JSON rounds to some decimals: 1e-12 would be 0
        print(json.dumps(whole.where(whole.notna(), None).to_dict(orient="records"), indent=2))
    elif as_csv:
        print(frame.to_csv(), end="")
    elif not len(frame):
        print(f"no trials in {name} yet\nNext: stsweep status {record.argument}")
    else:
        frame.index = frame.index.map("{:04d}".format).rename("trial")
        print(frame.to_string(na_rep="", float_format=lambda value: f"{value:.4g}"))


@app.command()
def train(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Folder for the encoder and its checkpoint; must not exist.")],
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train one configuration, a spec's `train` with --set, in this process and without Ray."""
    from sweep.spec.origin import told_where
    from sweep.train_one import train_one

    path = spec_path(spec)
    with told_where(spec, path, changes):
        given = load(path, changes, data_dir)
        code = train_one(given, out=out, resume=resume, trust_remote_code=trust_remote_code)
    raise typer.Exit(code)


@app.command()
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="Number of a completed trial; default: the best.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make; default: ROOT/NAME/export, or ./NAME-export of a root at a URI."),
    ] = None,
    root: Root = DEFAULT,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Write the best encoder as a folder for SentenceTransformer(path), with its re-runnable configuration."""
    from sweep.export.folder import default_folder
    from sweep.export.folder import export as export_trial

    record = record_of(root, name)
    exported = export_trial(record, trial, out or default_folder(record), trust_remote_code=trust_remote_code)
    print(json.dumps(exported.to_json(), indent=2) if as_json else exported.to_text())


@app.command()
def ui(
    name: Name,
    root: Root = DEFAULT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.")] = 5000,
) -> None:
    """Serve MLflow on this machine and print the link to the page that compares all trials of the sweep."""
    from sweep.tracking.ui import serve_until_interrupted

    serve_until_interrupted(record_of(root, name), host, port)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    from sweep.spec.sweep_spec import json_schema

    print(json.dumps(json_schema(), indent=2))
