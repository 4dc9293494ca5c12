"""`SweepSpec`: what a sweep file says, checked, resolved and frozen; `load_spec` reads one.

All mistakes of a file are told at once, each with its line, its dotted key, what is allowed and the nearest name.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from model.config import Section, TrainConfig
from sweep.errors import Refused
from sweep.spec.fields import Findings, settle
from sweep.spec.knobs import KNOBS, SEARCHABLE, knob_schema
from sweep.spec.overrides import apply_overrides
from sweep.spec.places import resolve_places
from sweep.spec.rules import apply_rules
from sweep.spec.search import Grid, check_together, parse_search
from sweep.spec.yaml_file import dump, read_yaml

DATA_VARIABLE = "STSWEEP_DATA"


class Sampler(Section):
    """Who proposes the next trial."""

    name: Literal["tpe", "random", "grid"] = "tpe"
    """`tpe`: Optuna's tree-structured Parzen estimator. `random`. `grid`: every point of `search`, once."""
    startup_trials: int = Field(default=10, ge=1)
    """Random trials before TPE starts to model the scores; `random` and `grid` ignore it."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds the proposals; `train.seed` seeds the training. `grid` ignores it."""


class Scheduler(Section):
    """Who ends a trial early."""

    name: Literal["asha", "none"] = "none"
    """`asha`: asynchronous successive halving. `none`: every trial runs to the budget and is scored once, there."""
    grace: int | None = Field(default=None, ge=1)
    """Sentences before ASHA's first rung: no trial stops sooner. Needed with `asha`, ignored with `none`."""
    reduction_factor: float = Field(default=4, gt=1)
    """Of the trials at a rung, one in so many goes on; rungs lie this factor apart. `none` ignores it."""


class Objective(Section):
    """What a trial is scored by; × 100, higher is better."""

    task: str = "stsb"
    """A task of `evaluation` with a dev split: stsb, stsb-dev-clean (its 369 pairs that no test has), sickr, demo."""
    split: str = "dev"
    """A split to choose on. `test` is refused: it is opened once, after the choice."""
    metric: Literal["spearman", "pearson"] = "spearman"
    """Correlation of the cosine similarities with the gold scores."""
    poolings: Literal["own", "all"] = "own"
    """`all`: report the score with every other pooling too, from the same forward pass. The trial's own decides."""


class Resources(Section):
    """What one trial takes."""

    cpus: float = Field(default=1, gt=0)
    """CPUs of a trial, which are also its threads."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a trial: whole, or a fraction below 1 (a promise of the scheduler, no limit of memory)."""
    concurrent: int | None = Field(default=None, ge=1)
    """Most trials at once. None: as many as fit."""


class SweepSpec(Section):
    """A sweep: one training configuration, what varies in it, and how the trials are proposed, stopped and scored."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    """The sweep's name unless `--name` gives another."""
    description: str = ""
    """One line on what the sweep is for."""
    train: TrainConfig = TrainConfig()
    """The configuration that the search varies."""
    search: Grid | tuple[Grid, ...] = Field(default_factory=dict)
    """Knob → distribution. With `sampler.name: grid` also a list of such mappings, each varied around `train`."""
    sampler: Sampler = Sampler()
    scheduler: Scheduler = Scheduler()
    objective: Objective = Objective()
    trials: int | None = Field(default=None, ge=1)
    """How many trials. A grid counts its own points."""
    resources: Resources = Resources()
    data_dir: str | None = None
    """Folder in the layout of the SentEval archive. None: the variable STSWEEP_DATA."""
    tracking_uri: str | None = None
    """MLflow server or database. None: a SQLite file in the sweeps' root."""

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
    searched = tree.pop("search", {})
    spec = settle(SweepSpec, tree, findings, hints=KNOBS, fallback={"name": "unnamed"})
    assert spec is not None, "every required key has a stand-in"
    grid = spec.sampler.name == "grid"
    # A misspelt sampler may have been meant as a grid, or not: neither is held against the search.
    grids = parse_search(searched, findings, grid=grid if findings.intact(("sampler", "name")) else None)
    spec = spec.model_copy(update={"search": grids if isinstance(searched, list) else grids[0]})
    if findings.intact(("train",), ("search",)):
        check_together(spec.grids, spec.train, findings, grid=grid)
    apply_rules(spec, findings)
    if findings.problems:
        raise Refused(findings.problems, next=f"correct it, then: stsweep check {path}")
    return spec


def rungs(spec: SweepSpec) -> tuple[int, ...]:
    """Sentences at which a trial is scored, ascending: ASHA's milestones grace·rfᵏ below the budget, then the budget.

    A milestone between two whole numbers becomes the upper one, the first count at which Ray takes it for reached
    (`_Bracket.on_result` of ray.tune.schedulers.async_hyperband compares with ≥).
    """
    budget, scheduler = spec.train.budget.sentences, spec.scheduler
    found: list[int] = []
    if scheduler.name == "asha" and scheduler.grace is not None:
        while (milestone := math.ceil(scheduler.grace * scheduler.reduction_factor ** len(found))) < budget:
            found.append(milestone)
    return (*dict.fromkeys(found), budget)


def spec_hash(spec: SweepSpec) -> str:
    """A hash (hex) of all that decides which trials are proposed, how they train and when they stop.

    Left out: the names, where things run and lie, and the number of trials, so that a sweep resumed elsewhere or
    extended is still itself.
    """
    names = ("name", "description", "trials", "resources", "data_dir", "tracking_uri")
    said = spec.model_dump(mode="json", exclude=set(names))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors; `search` lists every knob that may be searched."""
    schema = SweepSpec.model_json_schema()
    mapping = {
        "type": "object",
        "properties": {
            knob: {
                "anyOf": [{"$ref": "#/$defs/Range"}, {"$ref": "#/$defs/Choices"}],
                "description": knob_schema(knob).get("description", ""),
            }
            for knob in SEARCHABLE
        },
        "additionalProperties": False,
    }
    schema["$defs"]["Grid"] = mapping
    schema["properties"]["search"] |= {"anyOf": [{"$ref": "#/$defs/Grid"}, {"type": "array", "items": mapping}]}
    schema["properties"]["search"]["anyOf"][1]["items"] = {"$ref": "#/$defs/Grid"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
