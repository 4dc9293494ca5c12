"""The file formats of the STS tasks: a reader gives the scored rows and collects what is wrong, line by line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from evaluation.errors import InputError

SHOWN = 20
"""Faults written out before the rest is only counted."""


class Row(NamedTuple):
    """One scored pair."""

    first: str
    second: str
    gold: float
    subset: str


@dataclass
class Faults:
    """What is wrong with the files of one split, collected so that one error tells all of it."""

    found: list[str] = field(default_factory=list)

    def add(self, path: Path, line: int | None, text: str) -> None:
        """Note a fault; lines count from 1, None is the file as a whole."""
        self.found.append(f"{path}{'' if line is None else f':{line}'}: {text}")

    def raise_any(self, heading: str, advice: str) -> None:
        """Raise InputError with every fault, if there is one."""
        if not self.found:
            return
        shown = self.found[:SHOWN]
        if len(self.found) > SHOWN:
            shown.append(f"… and {len(self.found) - SHOWN} more")
        raise InputError("\n  ".join([heading, *shown]) + f"\n{advice}")


def read_lines(path: Path, faults: Faults, encoding: Literal["utf-8", "latin-1"] = "utf-8") -> list[str] | None:
    """The lines of a file, or None after noting why there are none.

    The byte-order mark of a UTF-8 file and carriage returns before a line end are dropped. Only a line feed ends a
    line: `str.splitlines` also breaks at U+0085 and U+2028, which occur inside sentences, and would shift sentences
    against golds.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        faults.add(path, None, "no such file")
        return None
    except OSError as error:
        faults.add(path, None, f"cannot be read: {error.strerror}")
        return None
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        # utf-8-sig counts `start` from behind a byte-order mark; `object` is what it counted in.
        start = error.start + len(data) - len(error.object)
        line = data.count(b"\n", 0, start) + 1
        faults.add(path, line, f"not UTF-8: byte 0x{data[start]:02x} at byte offset {start} of the file")
        return None
    lines = text.removesuffix("\n").split("\n") if text else []
    if not any(map(str.strip, lines)):
        faults.add(path, None, "the file is empty")
        return None
    return [line.removesuffix("\r") for line in lines]


def clean(sentence: str) -> str:
    """Tokens joined by one space, as SimCSE's SentEval hands sentences to an encoder."""
    return " ".join(sentence.split())


def parse_gold(text: str, scale: tuple[float, float]) -> float | str:
    """The gold, or what is wrong with it."""
    low, high = scale
    try:
        gold = float(text)
    except ValueError:
        return f"gold {text.strip()!r} is not a number; allowed is {low:g} to {high:g}"
    return gold if low <= gold <= high else f"gold {text.strip()} is out of range; allowed is {low:g} to {high:g}"


@dataclass(frozen=True)
class Table:
    """A tab-separated file without quoting, one scored pair a line. Columns count from 0."""

    path: str
    gold: int
    first: int
    second: int
    columns: int
    """Columns a line has at least; exactly, unless `more_columns`."""
    scale: tuple[float, float] = (0.0, 5.0)
    more_columns: bool = False
    header: bool = False
    subset: int | str = 0
    """The column that names the subset, or the name of the only one."""

    def read(self, folder: Path, faults: Faults) -> list[Row]:
        """The rows that are in order; what is wrong with the others goes to `faults`."""
        path = folder / self.path
        rows = []
        for number, line in enumerate(read_lines(path, faults) or (), start=1):
            if self.header and number == 1:
                continue
            row = self._row(line.split("\t"))
            if isinstance(row, Row):
                rows.append(row)
            else:
                faults.add(path, number, row)
        return rows

    def _row(self, cells: list[str]) -> Row | str:
        if len(cells) < self.columns or (len(cells) > self.columns and not self.more_columns):
            or_more = " or more" if self.more_columns else ""
            return f"{len(cells)} tab-separated column(s) where {self.columns}{or_more} are needed"
        gold = parse_gold(cells[self.gold], self.scale)
        if isinstance(gold, str):
            return gold
        first, second = clean(cells[self.first]), clean(cells[self.second])
        if not first or not second:
            return "a sentence is empty"
        return Row(first, second, gold, self.subset if isinstance(self.subset, str) else cells[self.subset])


@dataclass(frozen=True)
class InputAndGold:
    """SemEval's two files a subset, line by line: `STS.input.NAME.txt` and `STS.gs.NAME.txt`.

    A blank gold means that the pair was never scored; it is skipped (STS15 and STS16 have thousands).
    """

    folder: str
    name: str
    scale: tuple[float, float] = (0.0, 5.0)

    def read(self, folder: Path, faults: Faults) -> list[Row]:
        """The scored rows that are in order; what is wrong with the others goes to `faults`."""
        path = folder / self.folder / f"STS.input.{self.name}.txt"
        gold_path = folder / self.folder / f"STS.gs.{self.name}.txt"
        inputs, golds = read_lines(path, faults), read_lines(gold_path, faults)
        if inputs is None or golds is None:
            return []
        if len(inputs) != len(golds):
            faults.add(
                gold_path, None, f"{len(golds)} lines, but {path.name} has {len(inputs)}; they go together line by line"
            )
            return []
        rows = []
        for number, (line, gold_text) in enumerate(zip(inputs, golds, strict=True), start=1):
            if not gold_text.strip():
                continue
            gold = parse_gold(gold_text, self.scale)
            if isinstance(gold, str):
                faults.add(gold_path, number, gold)
            cells = [clean(cell) for cell in line.split("\t")]
            if len(cells) != 2:
                faults.add(path, number, f"{len(cells)} tab-separated column(s) where 2 are needed")
            elif not all(cells):
                faults.add(path, number, "a sentence is empty")
            elif not isinstance(gold, str):
                rows.append(Row(cells[0], cells[1], gold, self.name))
        return rows
