"""A spec's own sampler, scheduler and trials in a world, with a record of its own that is thrown away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.record import Record
from sweep.resources import slots as at_once
from sweep.searcher import Room, make_bridge
from sweep.simulation.clock import Clock, simulate
from sweep.simulation.nodes import SimulatedNodes
from sweep.spec.space import trial_count
from sweep.spec.sweep_spec import spec_hash

if TYPE_CHECKING:
    from sweep.resources import Cluster
    from sweep.simulation.outcome import Outcome
    from sweep.simulation.worlds import World
    from sweep.spec.sweep_spec import SweepSpec

_IN_MEMORY = Path("/dev/shm")


@contextmanager
def passing_record(spec: SweepSpec, world: World) -> Iterator[Record]:
    """A record in a temporary folder, driven by this process; in memory where the machine has such a folder.

    A record is made to survive a power cut: on a disk, most of a simulation would be its fsyncs.
    """
    objective = spec.objective
    about = {
        "objective": f"{objective.task} {objective.split} {objective.metric}",
        "rungs": list(world.rungs),
        "searched": list(spec.searched),
        "trials": trial_count(spec),
        "spec_hash": spec_hash(spec),
        "command": "simulation",
    }
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        record = Record.create(Path(folder), spec.name, spec.to_yaml(), about)
        try:
            yield record
        finally:
            record.release()


def simulate_spec(spec: SweepSpec, world: World, *, slots: int, seed: int, cluster: Cluster | None = None) -> Outcome:
    """Run a spec in a world, its `stop` limits in simulated time.

    Args:
        spec: The sampler's seed is `sampler.seed`.
        world: Knows every knob of the spec (`sweep.simulation.fit`), at the spec's rungs.
        slots: Trials at once.
        seed: Of the world's noise.
        cluster: Nodes on which the trials are placed as the spec's resources ask; `slots` then does not limit them.

    Raises:
        Refused: a trial fits nowhere on the cluster.
    """
    clock = Clock()
    nodes = None if cluster is None else SimulatedNodes(cluster, spec.resources)
    with passing_record(spec, world) as record:
        room: Room = (lambda open_trials: True) if nodes is None else nodes.has_room
        searcher, scheduler, closing = make_bridge(spec, record, clock=clock, room=room)
        return simulate(
            searcher,
            scheduler,
            world,
            slots=slots if cluster is None else at_once(spec.resources, cluster),
            seed=seed,
            nodes=nodes,
            record=record,
            closing=lambda: closing.why is not None,
            clock=clock,
        )


def with_sampler_seed(spec: SweepSpec, seed: int) -> SweepSpec:
    """The spec with another `sampler.seed`."""
    return spec.model_copy(update={"sampler": spec.sampler.model_copy(update={"seed": seed})})
