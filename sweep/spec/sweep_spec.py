"""`SweepSpec`: what a sweep file says, checked, resolved and frozen; `load_spec` reads one.

All mistakes of a file are told at once, each with its line, its dotted key, what is allowed and the nearest name.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from model.config import Section, TrainConfig
from sweep.errors import Refused
from sweep.spec.difference import deciding
from sweep.spec.distribution import Grid, Value
from sweep.spec.fields import Findings, settle, show
from sweep.spec.knobs import KNOBS
from sweep.spec.overrides import apply_overrides
from sweep.spec.places import resolve_places
from sweep.spec.rules import apply_rules
from sweep.spec.schema import with_knobs
from sweep.spec.search import parse_search
from sweep.spec.sections import NAME_PATTERN, Objective, Resources, Sampler, Scheduler, Stop
from sweep.spec.start_points import parse_points
from sweep.spec.strategy_rules import MOST_MILESTONES, apply_strategy_rules
from sweep.spec.together import check_together
from sweep.spec.yaml_file import dump, read_yaml

__all__ = [
    "DATA_VARIABLE",
    "Resources",
    "Sampler",
    "SweepSpec",
    "default_data_folder",
    "json_schema",
    "load_spec",
    "milestones",
    "rungs",
    "spec_hash",
]

DATA_VARIABLE = "STSWEEP_DATA"


class SweepSpec(Section):
    """A sweep: one training configuration, what varies in it, and how the trials are proposed, stopped and scored."""

    name: str = Field(pattern=NAME_PATTERN, max_length=64)
    """The sweep's name unless `--name` gives another."""
    description: str = ""
    """One line on what the sweep is for."""
    train: TrainConfig = TrainConfig()
    """The configuration that the search varies."""
    search: Grid | tuple[Grid, ...] = Field(default_factory=dict)
    """Knob → distribution. With `sampler.name: grid` also a list of such mappings, each varied around `train`."""
    points: tuple[dict[str, Value], ...] = ()
    """Configurations tried first, in this order; a knob that one leaves out is sampled."""
    sampler: Sampler = Sampler()
    scheduler: Scheduler = Scheduler()
    objective: Objective = Objective()
    stop: Stop = Stop()
    trials: int | None = Field(default=None, ge=1)
    """How many trials. A grid counts its own points."""
    resources: Resources = Resources()
    keep_best: int = Field(default=5, ge=1)
    """Completed trials whose encoders are kept, the best ones; the rest keep their rows."""
    checkpoint_seconds: float = Field(default=60, gt=0)
    """Seconds of training between two checkpoints of a trial: what it loses at most when its worker dies."""
    data_dir: str | None = None
    """Folder in the layout of the SentEval archive. None: the variable STSWEEP_DATA."""
    tracking_uri: str | None = None
    """MLflow server or database. None: a SQLite file in the sweeps' root."""
    _left_out: tuple[str, ...] = PrivateAttr(default=())

    @property
    def left_out(self) -> tuple[str, ...]:
        """What `--set` took out of the file's search and points, a sentence each."""
        return self._left_out

    @property
    def grids(self) -> tuple[Grid, ...]:
        """`search` as mappings, one unless a grid has several."""
        return self.search if isinstance(self.search, tuple) else (self.search,)

    @property
    def searched(self) -> tuple[str, ...]:
        """Every knob that some mapping of `search` varies, in order."""
        return tuple(dict.fromkeys(knob for grid in self.grids for knob in grid))

    @property
    def data_folder(self) -> Path | None:
        """`data_dir`, else STSWEEP_DATA, else None."""
        return Path(self.data_dir) if self.data_dir else default_data_folder()

    def to_yaml(self) -> str:
        """Every setting, defaults and absolute paths written out; `load_spec` reads it back to an equal spec."""
        return dump(self.model_dump(mode="json"))


def default_data_folder() -> Path | None:
    """The folder that STSWEEP_DATA names, or None."""
    given = os.environ.get(DATA_VARIABLE)
    return Path(given) if given else None


def load_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file.

    Args:
        path: The file.
        overrides: `KEY=VALUE` texts (`--set`): a knob, which then leaves `search`, or a key of the spec.

    Raises:
        Refused: all mistakes of the file and the overrides.
    """
    document = read_yaml(path)
    findings = Findings(
        places={key: (document.file, line) for key, line in document.lines.items()},
        problems=list(document.problems),
        broken=set(document.left_out),
    )
    tree = apply_overrides(document.data, overrides, schema=SweepSpec, findings=findings)
    tree = resolve_places(tree, findings)
    left, tried = tree.pop("search", {}), tree.pop("points", [])
    searched = resolve_places({"search": document.data.get("search", {})}, findings)["search"]
    spec = settle(SweepSpec, tree, findings, hints=KNOBS, fallback={"name": "unnamed"})
    assert spec is not None, "every required key has a stand-in"
    # A misspelt sampler may have been meant as a grid, or not: neither is held against the search.
    grid = spec.sampler.name == "grid" if findings.intact(("sampler", "name")) else None
    named, flat = _knobs(searched), spec.train.flatten()
    fixed = {knob: flat[knob] for knob in named if knob in flat and knob not in _knobs(left)}
    findings.notes += [f"{knob} is not searched: --set fixed it at {show(value)}" for knob, value in fixed.items()]
    grids = parse_search(searched, findings, grid=grid, fixed=fixed)
    taken = set(named).difference(*grids)
    points = parse_points(tried, grids, spec.train, findings, grid=grid, taken=taken)
    spec = spec.model_copy(update={"search": grids if isinstance(searched, list) else grids[0], "points": points})
    if findings.intact(("train",), ("search",)):
        check_together(spec.grids, spec.train, findings, grid=bool(grid))
    listable = apply_rules(spec, findings)
    apply_strategy_rules(spec, max(len(rungs(spec)) - 1, len(milestones(spec))) if listable else None, findings)
    if findings.problems:
        raise Refused(findings.problems, next=f"correct it, then: stsweep check {shlex.quote(str(path))}")
    spec._left_out = tuple(findings.notes)
    return spec


def _knobs(searched: Any) -> list[str]:
    mappings = searched if isinstance(searched, list) else [searched]
    return list(dict.fromkeys(knob for mapping in mappings if isinstance(mapping, dict) for knob in mapping))


def rungs(spec: SweepSpec) -> tuple[int, ...]:
    """Sentences at which a trial is scored, ascending: the milestones grace·rfᵏ below the budget, then the budget.

    A milestone between two whole numbers becomes the upper one, the first count at which Ray takes it for reached
    (`_Bracket.on_result` of ray.tune.schedulers.async_hyperband compares with ≥). On the axis of seconds the budget
    alone: the others are `milestones`.
    """
    budget, scheduler = spec.train.budget.sentences, spec.scheduler
    found: list[int] = []
    if scheduler.grace is not None and scheduler.axis == "sentences":
        while (milestone := math.ceil(scheduler.grace * scheduler.reduction_factor ** len(found))) < budget:
            found.append(milestone)
    return (*dict.fromkeys(found), budget)


def milestones(spec: SweepSpec) -> tuple[float, ...]:
    """Seconds of training at which a trial is scored, ascending: grace·rfᵏ for k = 0 … 19; none on another axis.

    A trial passes as many as its training lasts. It ends at the budget's sentences all the same, so that trials are
    compared at equal cost while they run, and at equal sentences when they are done.
    """
    scheduler = spec.scheduler
    if scheduler.axis != "seconds" or scheduler.grace is None:
        return ()
    return tuple(float(scheduler.grace * scheduler.reduction_factor**k) for k in range(MOST_MILESTONES))


def spec_hash(spec: SweepSpec) -> str:
    """A hash (hex) of all that decides which trials are proposed, how they train and when they stop.

    Left out: the names, where things run and lie, what is kept, the number of trials and what ends the sweep, so that
    a sweep resumed elsewhere or extended is still itself. `differences` says what two hashes differ in.
    """
    return hashlib.sha256(json.dumps(deciding(spec), sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors; `search` lists every knob that may be searched."""
    return with_knobs(SweepSpec.model_json_schema())
