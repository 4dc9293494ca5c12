"""`--set KEY=VALUE`: one knob of `train`, or one setting of the spec, changed from the command line."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from sweep.errors import Problem, nearest
from sweep.spec.fields import Findings, Schema, kinds, leaf_schema, schema_of
from sweep.spec.knobs import KNOBS, is_list
from sweep.spec.yaml_file import KeyPath, scalar


def apply_overrides(
    tree: dict[str, Any], overrides: Sequence[str], *, schema: type[BaseModel], findings: Findings
) -> dict[str, Any]:
    """A copy of a spec's plain data with the overrides in it; a knob that is set is no longer searched.

    Args:
        overrides: Texts `KEY=VALUE`; of two with one key the later wins.
        schema: The spec's model, whose keys may be set.
        findings: Told what is wrong; told also that the set keys come from the command line.
    """
    tree = copy.deepcopy(tree)
    settings = [key for key in _leaves(schema_of(schema), "") if not key.startswith(("train.", "search", "points"))]
    for override in overrides:
        source = f"--set {override}"
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals:
            findings.problems.append(Problem("no '='; give KEY=VALUE", source))
        elif key in KNOBS:
            _leave_search(tree, key, findings)
            _place(tree, ("train", *key.split(".")), _knob_value(key, text.strip()), findings, source)
        elif key in settings:
            field = leaf_schema(schema, key.split("."))
            _place(tree, tuple(key.split(".")), _value(field, text.strip()), findings, source)
        else:
            in_file = key.partition(".")[0] in ("search", "points")
            hint = (
                "; edit the file to change what is searched, or tried first"
                if in_file
                else nearest(key, [*KNOBS, *settings]) or f"; keys: {', '.join([*KNOBS, *settings])}"
            )
            findings.problems.append(Problem(f"no such key{hint}", source, key=key))
    return tree


def _leaves(schema: Schema, prefix: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        if "properties" in field:
            yield from _leaves(field, f"{prefix}{name}.")
        else:
            yield prefix + name


def _knob_value(knob: str, text: str) -> Any:
    if is_list(knob):
        return None if text == "null" else text.removeprefix("[").removesuffix("]")
    return _value(None, text)


def _value(field: Schema | None, text: str) -> Any:
    """What YAML reads in `text`, unless the setting is a text or a list of texts: `name=007` is not seven."""
    if field and "array" in kinds(field):
        listed = text.removeprefix("[").removesuffix("]").split(",")
        return [part.strip() for part in listed if part.strip()]
    value = scalar(text)
    return text if field and value is not None and "string" in kinds(field) else value


def _leave_search(tree: dict[str, Any], knob: str, findings: Findings) -> None:
    searches = tree.get("search")
    for place, search in enumerate(searches if isinstance(searches, list) else [searches]):
        if isinstance(search, dict):
            search.pop(knob, None)
            at: KeyPath = ("search", place, knob) if isinstance(searches, list) else ("search", knob)
            findings.broken = {path for path in findings.broken if path[: len(at)] != at}


def _place(tree: dict[str, Any], path: tuple[str, ...], value: Any, findings: Findings, source: str) -> None:
    node = tree
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            return  # the section itself is at fault, and is told
    node[path[-1]] = value
    findings.broken.discard(path)
    findings.places = {key: place for key, place in findings.places.items() if key[: len(path)] != path}
    findings.places[path] = (source, None)
