"""Every shipped search space runs: to two rungs, on a local encoder of DistilBERT's architecture and 300 sentences."""

from __future__ import annotations

import json
from itertools import product

import pytest
from ruamel.yaml import YAML

import search_spaces

FIXED = {"student_grid": {"optim.learning_rate": 4e-4, "encoder.pooling": "avg_last2"}}
"""Of a large grid, the knobs that are not varied here."""


def _shipped(name):
    spec = YAML(typ="safe").load(search_spaces.folder() / f"{name}.yaml")
    for knob, value in FIXED.get(name, {}).items():
        section, key = knob.split(".")
        spec["train"][section][key] = value
        for grid in spec["search"]:
            del grid[knob]
    return spec


@pytest.mark.parametrize("name", search_spaces.names())
def test_it_runs_for_two_rungs(name, stsweep, head):
    shipped = _shipped(name)
    is_grid = shipped["sampler"]["name"] == "grid"
    changes = [
        "encoder.name=./encoder",
        *(["teacher.name=./encoder"] if "teacher" in shipped["train"] else []),
        *("scheduler.name=asha", "scheduler.grace=256", "scheduler.reduction_factor=2", "budget.sentences=512"),
        *("objective.task=demo", "resources.gpus_per_worker=0", "resources.cpus_per_worker=1"),
        *([] if is_grid else ["trials=2"]),
        *(f"{knob}={value}" for knob, value in FIXED.get(name, {}).items()),
    ]
    flags = [part for change in changes for part in ("--set", change)]
    variables = {"STSWEEP_CORPUS": "corpus.txt", "RAY_ADDRESS": head.address} | head.credentials
    ran = stsweep("run", name, "--root", "spaces", "--name", f"space-{name}", *flags, **variables)
    assert ran.returncode == 0, ran.stderr
    status = json.loads(stsweep("status", f"space-{name}", "--root", "spaces", "--json").stdout)
    assert status["rungs"] == [256, 512]
    assert {row["rung"] for trial in status["trial"] for row in trial["rows"]} == {256, 512}
    assert all(trial["state"] in ("completed", "stopped") for trial in status["trial"])
    if is_grid:
        _assert_every_point_ran_once(shipped, status["trial"])


def _assert_every_point_ran_once(shipped, trials):
    """The expected points by hand: each grid around the defaults, the common centre once."""
    knobs = list(dict.fromkeys(knob for grid in shipped["search"] for knob in grid))
    centre = {knob: shipped["train"][knob.split(".")[0]][knob.split(".")[1]] for knob in knobs}
    expected = set()
    for grid in shipped["search"]:
        for values in product(*(each["choices"] for each in grid.values())):
            point = centre | dict(zip(grid, values, strict=True))
            expected.add(tuple(point[knob] for knob in knobs))
    found = [tuple(trial["point"][knob] for knob in knobs) for trial in trials]
    assert len(found) == len(set(found))
    assert set(found) == expected
