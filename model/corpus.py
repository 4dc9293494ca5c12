"""Unlabelled sentences from text files: UTF-8, one a line. Loads no torch.

A corpus is read whole and judged whole: every fault of every file is in one message, because a sweep of hours that
silently trains on half a download is worse than a refusal.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.cache import file_sha256
from model.errors import InputError

DEMO = "demo"
"""The name, in `data.corpus`, of the demonstration corpus that ships with the project."""

_DEMO_FILE = Path(__file__).parent / "demo" / "sentences.txt"


def read_corpus(paths: Sequence[str]) -> list[str]:
    """The distinct sentences of the files, in order; blank lines and exact repeats are dropped.

    Raises:
        InputError: a file is missing, empty, cut short or not UTF-8 text; the message names all faults of all files.
    """
    sentences: dict[str, None] = {}
    faults: list[str] = []
    for text in _texts(paths, faults):
        sentences |= dict.fromkeys(_lines(text))
    if faults:
        raise InputError(_message(faults))
    sentences.pop("", None)
    return list(sentences)


def count_corpus(paths: Sequence[str]) -> tuple[int, list[str]]:
    """How many sentences `read_corpus` gives, and what it would refuse; a million lines take a second."""
    sentences: set[str] = set()
    faults: list[str] = []
    for text in _texts(paths, faults):
        sentences.update(_lines(text))
    sentences.discard("")
    return len(sentences), faults


def find_corpus_faults(paths: Sequence[str]) -> list[str]:
    """What `read_corpus` would refuse, one text a fault; empty when there is nothing to refuse."""
    faults: list[str] = []
    for _ in _texts(paths, faults):
        pass
    return faults


def corpus_identity(paths: Sequence[str]) -> str:
    """A hash (hex) of the files' contents in their order; where the files lie does not matter.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        # A digest a file, not one of the joined bytes: two corpora cut at another place are not the same.
        digests = [bytes.fromhex(file_sha256(_path(name))) for name in paths]
    except OSError:
        raise InputError(_message(find_corpus_faults(paths))) from None
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _path(name: str) -> Path:
    return _DEMO_FILE if name == DEMO else Path(name).expanduser()


def _lines(text: str) -> Iterator[str]:
    """The lines without the blanks around them. Every loop is in C: a corpus has a million of them."""
    # Split at line feeds only: str.splitlines would also break a sentence at U+2028, U+0085 or a form feed.
    return map(str.strip, text.split("\n"))


def _texts(paths: Sequence[str], faults: list[str]) -> Iterator[str]:
    """The text of each sound file; what is wrong with another is added to `faults`."""
    for name, content in _contents(paths, faults):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            faults.append(_undecodable(name, content, error))
            continue
        if fault := _find_fault(name, content, text):
            faults.append(fault)
        else:
            yield text


def _contents(paths: Sequence[str], faults: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each readable file; what cannot be read is added to `faults`."""
    for name in paths:
        path = _path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            faults.append(_missing(name, path))
        except IsADirectoryError:
            faults.append(f"{name}: is a folder; name the text files in it, comma-separated")
        except OSError as error:
            faults.append(f"{name}: cannot be read ({error.strerror})")
        else:
            yield name, content


def _missing(name: str, path: Path) -> str:
    neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    known = {neighbour: str(path.with_name(neighbour)) for neighbour in neighbours} | {DEMO: DEMO}
    near = [known[match] for match in difflib.get_close_matches(path.name, known, n=1)]
    return f"{name}: no such file" + (f"; did you mean {near[0]}?" if near else f" (looked at {path.absolute()})")


def _find_fault(name: str, content: bytes, text: str) -> str | None:
    """The first thing wrong with one file's bytes, which are `text`, or None."""
    if not text or text.isspace():
        return f"{name}: holds no sentence ({len(content)} bytes)"
    if "\0" in text:
        offset = content.index(b"\0")
        where = f"line {_line(content, offset)}, byte {offset}"
        return f"{name}: {where}: NUL: not a text file, or UTF-16 without its mark"
    if not content.endswith(b"\n"):
        return (
            f"{name}: the last line (line {_line(content, len(content))}) has no line end, as in a file cut short; "
            f"fetch it again, or if it is whole add the line end: echo >> '{name}'"
        )
    return None


def _undecodable(name: str, content: bytes, error: UnicodeDecodeError) -> str:
    # The "utf-8-sig" codec counts from behind the byte order mark when there is one.
    offset = error.start + len(content) - len(error.object)
    where = f"line {_line(content, offset)}, byte {offset}"
    if error.reason == "unexpected end of data":
        return f"{name}: {where}: ends inside a UTF-8 character: the file was cut short; fetch it again"
    encoding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "ISO-8859-1"
    return (
        f"{name}: {where}: 0x{content[offset]:02x} is not UTF-8; if it is {encoding}: "
        f"iconv -f {encoding} -t UTF-8 '{name}' > corpus.txt"
    )


def _line(content: bytes, offset: int) -> int:
    """The line, counted from 1, on which a byte lies."""
    return content.count(b"\n", 0, offset) + 1


def _message(faults: list[str]) -> str:
    return "data.corpus cannot be used:\n" + "\n".join(f"  {fault}" for fault in faults)
