"""The published JSON Schema is the program's, and editors that follow it accept what we ship."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

import search_spaces
from sweep.spec.sweep_spec import json_schema

PUBLISHED = Path(__file__).parents[3] / "docs" / "spec.schema.json"


def test_the_published_schema_is_the_programs() -> None:
    assert json.loads(PUBLISHED.read_text()) == json_schema(), "run `make schema`"


@pytest.mark.parametrize("name", search_spaces.names())
def test_a_shipped_sweep_is_valid_by_the_schema(name: str) -> None:
    spec = YAML(typ="safe").load(search_spaces.folder() / f"{name}.yaml")
    jsonschema.validate(spec, json.loads(PUBLISHED.read_text()))


def test_a_misspelt_knob_is_invalid_by_the_schema() -> None:
    spec = YAML(typ="safe").load(search_spaces.folder() / "quickstart.yaml")
    spec["search"]["optim.learning_rat"] = {"low": 1e-5, "high": 1e-3}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, json.loads(PUBLISHED.read_text()))


@pytest.mark.parametrize(
    ("section", "good", "bad"),
    [
        ("points", [{"loss.temperature": 0.05, "encoder.keep_layers": [0, 5]}], [{"loss.temprature": 0.05}]),
        ("stop", {"target": 82, "wall_hours": 8}, {"wall_hours": 0}),
        ("scheduler", {"name": "hyperband", "axis": "seconds", "grace": 0.5}, {"axis": "steps"}),
        ("sampler", {"name": "gp", "warm_start": ["first"]}, {"name": "gpp"}),
        (
            "search",
            {"views.rate": {"low": 0.1, "high": 0.2, "when": {"views.kind": "span_crop"}}},
            {"views.rate": {"when": {}}},
        ),
        (
            "search",
            {"views.rate": {"choices": [0.1], "when": {"encoder.keep_layers": [None, [0, 5]]}}},
            {"views.rate": {"choices": [0.1], "when": {"views.knd": ["span_crop"]}}},
        ),
    ],
)
def test_an_editor_tells_a_good_section_from_a_bad_one(section: str, good: object, bad: object) -> None:
    schema = json.loads(PUBLISHED.read_text())
    jsonschema.validate({"name": "s", section: good}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "s", section: bad}, schema)
