"""A file of Ray's cluster launcher, before `ray up`: its mistakes by line, all at once.

`ray up` has the same schema, and answers a misspelt key with hundreds of lines that name no line of the file; what its
schema lets through (a misspelt key of `provider`, say) does nothing there, without a word.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import Problem, Refused, nearest
from sweep.spec.fields import Schema, dotted, place_of, refusal, unknown
from sweep.spec.yaml_file import KeyPath, read_yaml

if TYPE_CHECKING:
    from jsonschema import ValidationError


def check_cluster_file(path: Path) -> None:
    """Whether Ray's launcher knows all that a file says.

    Raises:
        Refused: it cannot be read, or does not; every mistake.
    """
    from jsonschema import Draft7Validator

    following = f"correct it, then: ray up {shlex.quote(str(path))}"
    try:
        found = read_yaml(path, begins="a cluster starts with `cluster_name: NAME`")
    except Refused as refused:
        raise Refused(refused.problems, following) from None
    schema = _schema()
    if not found.data.keys() & set(schema["required"]):
        problem = Problem(f"no file for `ray up`: it has neither {' nor '.join(schema['required'])}", found.file)
        raise Refused([problem], "name another file; a sweep's own: stsweep check SPEC")
    mistakes = [each for error in Draft7Validator(schema).iter_errors(found.data) for each in _mistakes(error)]
    mistakes += _ignored(found.data.get("provider"), schema["properties"]["provider"])
    problems = list(found.problems)
    for key, message in dict.fromkeys(mistakes):  # of two missing keys jsonschema says each by an error of its own
        if not any(key[: len(left)] == left for left in found.left_out):
            _, line = place_of({at: (found.file, line) for at, line in found.lines.items()}, key)
            problems.append(Problem(message, found.file, line, dotted(key)))
    if problems:
        raise Refused(problems, following)


def _schema() -> Schema:
    """Ray's own, found without importing Ray."""
    ray = find_spec("ray")
    assert ray is not None and ray.origin is not None
    path = Path(ray.origin).parent / "autoscaler" / "ray-schema.json"
    schema: Schema = json.loads(path.read_text(encoding="utf-8"))
    return schema


def _mistakes(error: ValidationError) -> Iterator[tuple[KeyPath, str]]:
    at: KeyPath = tuple(error.absolute_path)
    known = error.schema.get("properties", {})
    if error.validator == "additionalProperties":
        for name in sorted(error.instance.keys() - known.keys()):
            yield (*at, name), unknown(name, tuple(known))
    elif error.validator == "required":
        for name in sorted(set(error.validator_value) - error.instance.keys()):
            yield (*at, name), "missing"
    else:
        yield at, refusal(error.schema, error.instance)


def _ignored(provider: object, schema: Schema) -> Iterator[tuple[KeyPath, str]]:
    """Keys that look like one of Ray's, which lets any through: a provider of somebody's own may have its own."""
    known = schema["properties"].keys()
    for name in sorted(provider.keys() - known) if isinstance(provider, dict) else ():
        if close := nearest(name, known):
            yield ("provider", name), f"no such key, and Ray ignores it{close}"
