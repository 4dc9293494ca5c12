"""Checks plain data against a pydantic model and says each mistake in plain words, all of them at once.

Pydantic finds the mistakes; its own wording never reaches a person. What a field allows is read from the model's
JSON Schema, so the words cannot drift from the declaration.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sweep.errors import Problem, nearest
from sweep.spec.yaml_file import KeyPath

Schema = Mapping[str, Any]
WORDS = "x-allowed"
"""Key of a field's JSON Schema: what the field allows, in words."""
STAND_IN = "x-stand-in"
"""Key of a model's JSON Schema: what stands in a list for an item with a mistake, so that the others are looked at."""
M = TypeVar("M", bound=BaseModel)


@dataclass
class Findings:
    """The mistakes found so far, and which keys they broke, so that no mistake is told twice.

    Attributes:
        places: Key path → where its value came from: a file and a line, or `--set KEY=VALUE` and None.
        notes: What a person should know and is no mistake, a sentence each.
    """

    places: dict[KeyPath, tuple[str, int | None]]
    problems: list[Problem] = field(default_factory=list)
    broken: set[KeyPath] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def add(self, path: KeyPath, message: str) -> None:
        """A mistake at `path`; told where its nearest enclosing key is when it has no line itself."""
        file, line = place_of(self.places, path)
        self.problems.append(Problem(message, file, line, dotted(path)))
        self.broken.add(path)

    def intact(self, *paths: KeyPath) -> bool:
        """Whether no mistake lies at, above or below any of `paths`."""
        return not any(
            path[: len(broken)] == broken or broken[: len(path)] == path for path in paths for broken in self.broken
        )


def place_of(places: Mapping[KeyPath, tuple[str, int | None]], path: KeyPath) -> tuple[str | None, int | None]:
    """File and line of the deepest key of `path` that has one."""
    return next((places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in places), (None, None))


def dotted(path: KeyPath) -> str:
    """`("search", 0, "loss.temperature")` → `search[0].loss.temperature`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def show(value: Any) -> str:
    """A value as a person wrote it in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """The model's JSON Schema with every reference replaced by what it names."""
    schema = model.model_json_schema()
    inlined = _inline(schema, schema.get("$defs", {}))
    assert isinstance(inlined, dict)
    return inlined


def _inline(node: Any, definitions: Schema) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inline(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline(value, definitions) for key, value in node.items() if key != "$defs"}


def leaf_schema(model: type[BaseModel], path: Sequence[str]) -> Schema:
    """The schema of the field at `path` below `model`."""
    schema = schema_of(model)
    for part in path:
        schema = schema["properties"][part]
    return schema


def kinds(schema: Schema) -> frozenset[str]:
    """The JSON types that a field takes."""
    branches = schema.get("anyOf", [schema])
    return frozenset(str(branch["type"]) for branch in branches if "type" in branch)


def fits(schema: Schema, value: Any) -> bool:
    """Whether the value's type is one that the field takes; a quoted number is not a number, nor is `true`.

    A list may also be one comma-joined text (`"0,5"`), as `TrainConfig.flatten` writes it.
    """
    allowed = kinds(schema)
    if value is None:
        return "null" in allowed
    if isinstance(value, bool):
        return "boolean" in allowed
    if isinstance(value, int | float):
        return bool(allowed & {"integer", "number"})
    if isinstance(value, str):
        return bool(allowed & {"string", "array"})
    if isinstance(value, list | tuple):
        items = next((branch["items"] for branch in schema.get("anyOf", [schema]) if "items" in branch), None)
        return items is not None and all(fits(items, item) for item in value)
    return "object" in allowed


def words(schema: Schema) -> str:
    """What a field allows, in words: `a whole number from 3 to 512`, `one of cls, avg_last4`, `true or false`.

    A field whose schema says it by `WORDS` knows better: what it allows depends on another.
    """
    if WORDS in schema:
        return str(schema[WORDS])
    if "anyOf" in schema:
        branches = [branch for branch in schema["anyOf"] if branch.get("type") != "integer" or not _any_number(schema)]
        return " or ".join(map(words, branches))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        return f"one of {', '.join(values)}" if len(values) > 1 else str(values[0])
    match schema.get("type"):
        case "integer":
            return "a whole number" + _limits(schema)
        case "number":
            return "a finite number" + _limits(schema)
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "array" if "properties" in schema["items"]:
            return f"a list of mappings with the keys {', '.join(schema['items']['properties'])}"
        case "array":
            return "a list of whole numbers" if schema["items"].get("type") == "integer" else "a list of texts"
        case "object" if "properties" in schema:
            return f"a mapping with the keys {', '.join(schema['properties'])}"
    if "pattern" in schema:
        return f"text like {schema['pattern'].strip('^$')}, at most {schema['maxLength']} characters"
    return "text, not empty" if schema.get("minLength") else "text"


def _any_number(schema: Schema) -> bool:
    return any(branch.get("type") == "number" for branch in schema["anyOf"])


def _limits(schema: Schema) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    start = f" from {low}" if low is not None else f" above {above}" if above is not None else ""
    end = f" to {high}" if high is not None else f" below {below}" if below is not None else ""
    return start + (" and" if start and below is not None else "") + end


def refusal(schema: Schema, value: Any) -> str:
    """`'avg_last5' is not allowed; give one of …; did you mean avg_last4?`"""
    close = nearest(value, schema["enum"]) if isinstance(value, str) and "enum" in schema else ""
    return f"{show(value)} is not allowed; give {words(schema)}{close}"


def unknown(name: str, allowed: Sequence[str], hints: Sequence[str] = ()) -> str:
    """The message for a key that does not exist; `hints` are dotted names elsewhere that may have been meant."""
    if name in hints:
        *branches, leaf = name.split(".")
        nested = "".join(f"{branch}: {{" for branch in ["train", *branches]) + f"{leaf}: …" + "}" * (len(branches) + 1)
        return f"written as {nested}"
    return f"no such key; allowed: {', '.join(allowed)}{nearest(name, allowed) or nearest(name, hints)}"


def settle(
    model: type[M],
    data: Any,
    findings: Findings,
    at: KeyPath = (),
    *,
    hints: Sequence[str] = (),
    fallback: Mapping[str, Any] | None = None,
) -> M | None:
    """The model built from what is right in `data`; each mistake is noted, and its key keeps its default.

    Args:
        at: Where `data` hangs in the file.
        hints: As in `unknown`.
        fallback: Stand-ins for required keys that are missing or broken.

    Returns:
        None when a required key without a stand-in is missing or broken.
    """
    tree = copy.deepcopy(data)
    if not isinstance(tree, dict):
        findings.add(at, refusal(schema_of(model), tree))
        tree = {}
    _prune(schema_of(model), tree, findings, at, hints)
    while True:
        try:
            return model.model_validate({**(fallback or {}), **tree})
        except ValidationError as error:
            if not _drop(schema_of(model), tree, error, findings, at):
                return None


def _prune(schema: Schema, tree: dict[str, Any], findings: Findings, at: KeyPath, hints: Sequence[str]) -> None:
    """Note and remove unknown keys and values of a wrong type; note required keys that are missing."""
    fields = schema["properties"]
    for name in schema.get("required", ()):
        if name not in tree and findings.intact((*at, name)):
            findings.add((*at, name), f"missing; give {words(fields[name])}")
    for name in list(tree):
        path = (*at, name)
        if name not in fields:
            findings.add(path, unknown(name, tuple(fields), hints))
        elif "properties" in fields[name] and isinstance(tree[name], dict):
            _prune(fields[name], tree[name], findings, path, hints)
            continue
        elif "properties" in fields[name].get("items", ()) and isinstance(tree[name], list):
            for place, item in enumerate(tree[name]):
                if isinstance(item, dict):
                    _prune(fields[name]["items"], item, findings, (*path, place), hints)
                else:
                    findings.add((*path, place), refusal(fields[name]["items"], item))
                    tree[name][place] = copy.deepcopy(fields[name]["items"][STAND_IN])
            continue
        elif fits(fields[name], tree[name]):
            continue
        else:
            findings.add(path, refusal(fields[name], tree[name]))
        del tree[name]


def _drop(schema: Schema, tree: dict[str, Any], error: ValidationError, findings: Findings, at: KeyPath) -> bool:
    """Note what pydantic found and remove it from `tree`; False when there was nothing to remove.

    In place of an item of a list comes its stand-in, so that the items after it keep their places.
    """
    dropped = False
    for mistake in error.errors():
        node, keys, items = schema, list[str | int](), list[Schema]()
        for part in mistake["loc"]:
            if (nested := _nested(node, part)) is None:
                break
            keys.append(part)
            node = nested
            items += [node] if isinstance(part, int) else []
        path = (*at, *keys)
        parent, last = _parent(tree, keys)
        if "properties" in node:
            said = str(mistake.get("ctx", {}).get("error", mistake["msg"]))
            # A rule over several keys names those it reads; it is not told when one of them was at fault already.
            if not any(str(broken[-1]) in said for broken in findings.broken if broken[: len(path)] == path):
                findings.add(path, said)
        elif last in parent and findings.intact(path):
            findings.add(path, refusal(node, parent[last]))
        if items:
            above = list(takewhile(lambda key: isinstance(key, str), keys))
            holder, name = _parent(tree, above)
            holder[name][keys[len(above)]] = copy.deepcopy(items[0][STAND_IN])
            dropped = True
        elif keys and last in parent:
            del parent[last]
            dropped = True
        elif not keys and tree:
            tree.clear()
            dropped = True
    return dropped


def _nested(node: Schema, part: str | int) -> Schema | None:
    """The schema of a key, or of an item of a list of mappings; None for what is not told apart."""
    found: Schema | None = node.get("properties", {}).get(part) if isinstance(part, str) else node.get("items")
    return found if isinstance(part, str) or (found and "properties" in found) else None


def _parent(tree: dict[str, Any], keys: Sequence[str | int]) -> tuple[dict[str, Any], str]:
    """The mapping that holds the last of some keys, and that key; an empty one where it is gone."""
    *above, last = keys or [""]
    parent: Any = tree
    for key in above:
        is_there = key in parent if isinstance(parent, dict) else isinstance(key, int) and key < len(parent)
        parent = parent[key] if is_there else {}
    return (parent if isinstance(parent, dict) else {}), str(last)
