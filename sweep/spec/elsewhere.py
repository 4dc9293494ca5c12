"""Paths of a spec that would be another file on another machine: relative ones, and those below a home."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.errors import Problem
from sweep.spec.fields import Findings
from sweep.spec.overrides import apply_overrides
from sweep.spec.places import resolve_places
from sweep.spec.sweep_spec import SweepSpec
from sweep.spec.yaml_file import KeyPath, read_yaml

_SQLITE = "sqlite:///"


def local_paths(path: Path, overrides: Sequence[str]) -> list[Problem]:
    """A mistake for every path of a sweep file that only this machine understands; absolute ones are not looked at.

    A name of an encoder or a teacher is a path where `resolve_places` takes it for one: `./x`, or a folder of that
    name in the working directory, which shadows a Hub id.

    Args:
        path: the file; one that `read_yaml` reads.
        overrides: `KEY=VALUE` texts (`--set`).

    Raises:
        Refused: the file is no YAML.
    """
    document = read_yaml(path)
    findings = Findings(places={key: (document.file, line) for key, line in document.lines.items()})
    tree = apply_overrides(document.data, overrides, schema=SweepSpec, findings=findings)
    findings.problems.clear()  # what else is wrong is `load_spec`'s to tell
    for at, text in _texts(tree, ()):
        for given in _local(".".join(key for key in at if isinstance(key, str)), text):
            findings.add(at, f"{given!r} is a path of this machine; give the absolute one that the cluster's nodes see")
    return findings.problems


def _texts(node: Any, at: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _texts(value, (*at, key))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _texts(value, (*at, place))
    elif isinstance(node, str):
        yield at, node


def _local(key: str, text: str) -> Iterator[str]:
    """The paths in one text, found under a dotted key, that are not absolute."""
    if key == "data_dir":
        named = [text]
    elif key == "tracking_uri":
        named = [text.removeprefix(_SQLITE)] if text.startswith(_SQLITE) else []
    elif key == "train.data.corpus":
        named = [name.strip() for name in os.path.expandvars(text).split(",") if name.strip() != "demo"]
    elif any(f".{key}.".find(f".{name}.") >= 0 for name in ("encoder.name", "teacher.name")):
        kept = resolve_places({"train": {"encoder": {"name": text}}}, Findings(places={}))
        named = [text] if kept["train"]["encoder"]["name"] != text else []
    else:
        named = []
    yield from (name for name in named if name and not name.startswith("/"))
