"""What pydantic cannot say of a sweep file in JSON Schema: the knobs of `search`, of its conditions and of `points`."""

from __future__ import annotations

from typing import Any

from sweep.spec.knobs import SEARCHABLE, knob_schema

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCALAR = {"type": ["number", "string", "null"]}
_VALUE = {"type": ["number", "string", "null", "array"]}


def with_knobs(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the spec's model with every searchable knob by its name, for editors."""
    definitions, sections = schema["$defs"], schema["properties"]
    described = {knob: knob_schema(knob).get("description", "") for knob in SEARCHABLE}
    distribution = [{"$ref": "#/$defs/Range"}, {"$ref": "#/$defs/Choices"}]
    knobs = {knob: {"anyOf": distribution, "description": text} for knob, text in described.items()}
    definitions["Grid"] = {"type": "object", "properties": knobs, "additionalProperties": False}
    names = {"propertyNames": {"enum": list(SEARCHABLE)}, "minProperties": 1}
    definitions["Point"] = {"type": "object", "additionalProperties": _VALUE, **names}
    values = {"anyOf": [_SCALAR, {"type": "array", "items": _VALUE, "minItems": 1}]}
    definitions["When"] = {"type": "object", "additionalProperties": values, **names}
    grid, when = {"$ref": "#/$defs/Grid"}, {"anyOf": [{"$ref": "#/$defs/When"}, {"type": "null"}]}
    sections["search"] |= {"anyOf": [grid, {"type": "array", "items": grid}]}
    sections["points"]["items"] = {"$ref": "#/$defs/Point"}
    for name in ("Range", "Choices"):
        definitions[name]["properties"]["when"] |= when
    return {"$schema": _DIALECT, **schema}
