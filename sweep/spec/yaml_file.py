"""YAML 1.2 files as plain data, with the line of every key.

YAML 1.2 (ruamel.yaml) reads `1e-5` as a number, `no` as text and `010` as ten; YAML 1.1, which PyYAML reads, does
none of the three. Refused, because each silently changes what a file says or does: a key given twice, tags, merge
keys, aliases of lists or mappings, more than one document, directives.
"""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from sweep.errors import Problem, Refused, nearest

KeyPath = tuple[str | int, ...]

_MOST_BYTES = 200_000
"""No sweep is this long; a corpus given in place of a spec is."""
_DEEPEST = 20
"""Levels of nesting. The parser's time grows faster than the depth: 5,000 brackets take it 15 s."""


@dataclass(frozen=True)
class YamlFile:
    """What one file says.

    Attributes:
        file: The path as it was given.
        data: The mapping; keys with a problem are left out.
        lines: Key path (`("train", "encoder", "keep_layers", 0)`) → line, counted from 1.
        problems: Mistakes that did not keep the rest from being read.
        left_out: Key paths whose value is one of those mistakes.
    """

    file: str
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...]
    left_out: frozenset[KeyPath]


def read_yaml(path: Path, *, begins: str = "a sweep starts with `name: NAME`") -> YamlFile:
    """Read a YAML mapping.

    Args:
        path: of the file.
        begins: how such a file begins, for who has given another.

    Raises:
        Refused: nothing can be read: no such file, not UTF-8, not YAML, not a mapping.
    """
    reader = _Reader(str(path))
    text = _read_text(path, reader)
    try:
        reader.look_at_events(text)
        root: Node | None = None if reader.stop else _yaml().compose(text)
    except YAMLError as error:
        raise reader.refused(*_syntax(error, text)) from None
    if reader.stop:
        raise reader.refused()
    if root is None:
        raise reader.refused((1, f"the file is empty; {begins}"))
    if not isinstance(root, MappingNode):
        raise reader.refused((root.start_mark.line + 1, f"not a mapping; {begins}"))
    data = reader.value(root, ())
    return YamlFile(str(path), data, reader.lines, tuple(reader.problems), frozenset(reader.left_out))


def scalar(text: str) -> Any:
    """What YAML 1.2 reads in a plain scalar: `1e-5` → 1e-05, `null` → None, `no` → "no". Never fails."""
    yaml = _yaml()
    tag = str(yaml.resolver.resolve(ScalarNode, text, (True, False)))
    return _scalar(yaml, ScalarNode(tag, text))


def dump(data: Mapping[str, Any]) -> str:
    """`data` as YAML 1.2 text, keys in their order, one a line."""
    yaml = _yaml()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    yaml.width = 1_000_000
    stream = io.StringIO()
    yaml.dump(dict(data), stream)
    return stream.getvalue()


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)


def _scalar(yaml: YAML, node: ScalarNode) -> Any:
    kind = str(node.tag).rpartition(":")[2]
    if kind in ("int", "float", "bool", "null"):
        with contextlib.suppress(ValueError):  # Python reads no number of more than 4,300 digits; then it is text
            return yaml.constructor.construct_object(node)
    return node.value


def _read_text(path: Path, reader: _Reader) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        siblings = [str(other) for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        problem = Problem(f"no such file{nearest(str(path), siblings)}", str(path))
        raise Refused([problem], "name a file, or a shipped sweep: stsweep run quickstart") from None
    except IsADirectoryError:
        raise reader.refused((None, "a folder, not a YAML file")) from None
    except OSError as error:
        raise reader.refused((None, f"cannot be read: {error.strerror}")) from None
    if len(raw) > _MOST_BYTES:
        raise reader.refused((None, f"{len(raw)} bytes; a file of settings has at most {_MOST_BYTES}"))
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise reader.refused((line, f"not UTF-8: byte {raw[error.start]:#04x} at offset {error.start}")) from None


def _syntax(error: YAMLError, text: str) -> list[tuple[int | None, str]]:
    """One or more (line, message) for what the parser gave up on."""
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, text.find(chr(error.character))) + 1
        return [(line, f"not YAML: control character {error.character:#04x}")]
    tabs = [
        (number, "a tab in the indentation; YAML indents with spaces")
        for number, line in enumerate(text.splitlines(), start=1)
        if "\t" in line[: len(line) - len(line.lstrip())]
    ]
    if tabs:
        return [*tabs]
    if not isinstance(error, MarkedYAMLError):
        return [(None, "not YAML")]
    mark = error.problem_mark or error.context_mark
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    return [(mark.line + 1 if mark else None, f"not YAML: {said}")]


class _Reader:
    """Collects problems while one file is read."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.lines: dict[KeyPath, int] = {}
        self.tagged: set[tuple[int, int]] = set()
        self.left_out: set[KeyPath] = set()
        self.stop = False
        self._yaml = _yaml()

    def problem(self, line: int | None, message: str) -> None:
        self.problems.append(Problem(message, self.file, line))

    def refused(self, *found: tuple[int | None, str]) -> Refused:
        for line, message in found:
            self.problem(line, message)
        return Refused(self.problems, f"correct it, then: stsweep check {shlex.quote(self.file)}")

    def look_at_events(self, text: str) -> None:
        """Refuse what only the event stream shows; the node tree has tags and aliases resolved already."""
        scalars: set[str] = set()
        documents = depth = 0
        for event in _yaml().parse(text):
            line = event.start_mark.line + 1
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > _DEEPEST:
                self.problem(line, f"nested deeper than {_DEEPEST} levels")
                self.stop = True
                return
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1 or event.version or event.tags:
                    what = "a second document" if documents > 1 else "a % directive"
                    self.problem(line, f"{what} is not allowed; give one plain YAML 1.2 document")
                    self.stop = True
            elif isinstance(event, AliasEvent):
                if event.anchor not in scalars:
                    self.problem(line, f"alias *{event.anchor}: only a number or a text may be aliased; write it out")
                    self.stop = True
            elif isinstance(event, NodeEvent):
                if event.anchor and isinstance(event, ScalarEvent):
                    scalars.add(event.anchor)
                if tag := getattr(event, "tag", None):
                    self.problem(line, f"tag {_short(str(tag))} is not allowed; write the value without a tag")
                    self.tagged.add((event.start_mark.line, event.start_mark.column))

    def value(self, node: Node, path: KeyPath) -> Any:
        """Plain data of `node`; every key's line is noted, mistakes are noted and left out."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, place)) for place, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return _scalar(self._yaml, node)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _scalar(self._yaml, key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                self.problem(line, f"key {key_node.value if key is not None else '?'!r} is not text; quote it")
            elif key == "<<":
                self.problem(line, "merge keys (<<) are not allowed; write the keys out")
            elif key in data:
                first = self.lines[(*path, key)]
                self.problem(line, f"{key!r} is given twice, first on line {first}; keep one")
            else:
                self.lines[(*path, key)] = line
                value = self.value(value_node, (*path, key))
                mark = value_node.start_mark
                if (mark.line, mark.column) in self.tagged:
                    self.left_out.add((*path, key))
                else:
                    data[key] = value
        return data


def _short(tag: str) -> str:
    core = "tag:yaml.org,2002:"
    return "!!" + tag.removeprefix(core) if tag.startswith(core) else tag
