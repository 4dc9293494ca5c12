"""Every shipped search space runs: two trials to two rungs, on a local encoder of DistilBERT's architecture."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML

import search_spaces


@pytest.mark.parametrize("name", search_spaces.names())
def test_it_runs_for_two_rungs(name, stsweep, workshop):
    shipped = YAML(typ="safe").load(search_spaces.folder() / f"{name}.yaml")
    has_teacher = "teacher" in shipped["train"]
    changes = [
        "encoder.name=./encoder",
        *(["teacher.name=./encoder"] if has_teacher else []),
        "budget.sentences=512",
        "scheduler.name=asha",
        "scheduler.grace=256",
        "scheduler.reduction_factor=2",
        "objective.task=demo",
        "resources.gpus=0",
        "resources.cpus=1",
        *([] if shipped["sampler"]["name"] == "grid" else ["trials=2"]),
    ]
    if shipped["sampler"]["name"] == "grid":  # all its points would take minutes; one of its grids is enough
        pytest.skip("see test_a_grid_runs_every_point_once")
    flags = [part for change in changes for part in ("--set", change)]
    ran = stsweep("run", name, "--name", f"space-{name}", *flags, STSWEEP_CORPUS="corpus.txt")
    assert ran.returncode == 0, ran.stderr
    status = json.loads(stsweep("status", f"space-{name}", "--json").stdout)
    assert status["rungs"] == [256, 512]
    assert {row["rung"] for trial in status["trial"] for row in trial["rows"]} == {256, 512}
