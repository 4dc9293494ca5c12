"""Single knobs of `TrainConfig`: which exist, which may be searched, and whether a value is one of theirs."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from model.config import TrainConfig, knob_names
from sweep.spec.fields import Schema, fits, kinds, leaf_schema, refusal, words

KNOBS = knob_names()

_FIXED = {
    "budget": "rungs and learning-rate decay span one budget; scores at different budgets cannot be compared",
    "seed": "the best of several seeds is luck; every trial runs on the same seed",
    "data": "every trial trains on the same sentences; make one sweep a corpus",
}
"""Branch or knob → why it may not be searched."""

SEARCHABLE = tuple(name for name in KNOBS if name.partition(".")[0] not in _FIXED)


def why_fixed(knob: str) -> str | None:
    """Why a knob may not be searched; None when it may."""
    return _FIXED.get(knob.partition(".")[0])


def knob_schema(knob: str) -> Schema:
    """The JSON Schema of one knob."""
    return leaf_schema(TrainConfig, knob.split("."))


def is_list(knob: str) -> bool:
    """Whether the knob holds several values, which one comma-joined text may carry."""
    return "array" in kinds(knob_schema(knob))


def is_number(knob: str) -> bool:
    """Whether the knob may be searched as a range."""
    return bool(kinds(knob_schema(knob)) & {"integer", "number"})


def is_whole(knob: str) -> bool:
    """Whether the knob takes whole numbers only."""
    return is_number(knob) and "number" not in kinds(knob_schema(knob))


def value_of(knob: str, value: Any) -> Any:
    """`value` in the knob's own type, lists as comma-joined text: what `TrainConfig.flatten` would give.

    Raises:
        ValueError: not a value of this knob; the message says what is.
    """
    schema = knob_schema(knob)
    if not fits(schema, value):
        raise ValueError(refusal(schema, value))
    try:
        checked: Any = _lone(knob).model_validate({"value": value})
    except ValidationError:
        raise ValueError(refusal(schema, value)) from None
    plain = checked.model_dump(mode="json")["value"]
    if isinstance(plain, list):
        if not plain:
            raise ValueError(f"an empty list is not allowed; give {words(schema)}")
        return ",".join(map(str, plain))
    return plain


@cache
def _lone(knob: str) -> type[BaseModel]:
    """A model with this knob alone: in its own section, a rule over several knobs would speak too."""
    *branches, leaf = knob.split(".")
    section: type[BaseModel] = TrainConfig
    for branch in branches:
        annotation = section.model_fields[branch].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        section = annotation
    field = section.model_fields[leaf]
    fields: dict[str, Any] = {"value": (field.annotation, field)}
    model: type[BaseModel] = create_model("Knob", __config__=ConfigDict(allow_inf_nan=False), **fields)
    return model
