"""The command simulate: a spec's search on a simulated clock."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sweep.cli.app import Json, Set, Spec, app, load, spec_path


@app.command()
def simulate(
    spec: Spec,
    world: Annotated[
        str, typer.Option(help="student (recorded curves), paper (its tables) or analytic (formulas).")
    ] = "student",
    seeds: Annotated[int, typer.Option(min=1, help="Sweeps to simulate, each with a sampler seed of its own.")] = 8,
    slots: Annotated[int, typer.Option(min=1, help="Trials at once.")] = 2,
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="SD", help="Standard deviation of a score, in points; default: the world's own, student's is 0."
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(min=1, help="Nodes of a cluster, on which trials are placed; then --slots says nothing."),
    ] = None,
    node_cpus: Annotated[float, typer.Option(min=0, help="CPUs of each node.")] = 8,
    node_gpus: Annotated[int, typer.Option(min=0, help="GPUs of each node.")] = 0,
    changes: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Run a spec's sampler and scheduler over known learning curves: what a strategy finds, and at what cost."""
    from sweep.placement import NodeSize
    from sweep.resources import Cluster
    from sweep.simulation.show import simulation_json, simulation_text, simulations
    from sweep.spec.origin import told_where

    path = spec_path(spec)
    with told_where(spec, path, changes):
        cluster = Cluster((NodeSize(node_cpus, node_gpus),) * nodes) if nodes else None
        given = load(path, changes, None)
        found = simulations(given, world, seeds=seeds, slots=slots, noise_sd=noise, cluster=cluster)
    print(json.dumps(simulation_json(found), indent=2) if as_json else simulation_text(found))
