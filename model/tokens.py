"""Tokenised sentences: cut once per (sentences, tokenizer, max length), memory-mapped by every trial of a machine.

One Arrow IPC file of one record batch with two list columns, a row a sentence: `ids` (token ids, special tokens
included) and `words` (the word each token belongs to, −1 for special tokens).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.cache import build_once, cache_dir
from model.corpus import corpus_identity, read_corpus
from model.errors import InputError

_FORMAT = 1
_CHUNK_SENTENCES = 4096


class TokenisedSentences:
    """Token ids and word indices of every sentence, read from a memory-mapped file without copying."""

    def __init__(self, path: Path) -> None:
        """Open a file that `tokenised_corpus` built.

        Raises:
            InputError: the file is damaged.
        """
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it, it is then built again: rm '{path}'") from error
        ids, words = batch.column("ids"), batch.column("words")
        self._starts: NDArray[np.int32] = ids.offsets.to_numpy()
        self._ids: NDArray[np.int32] = ids.values.to_numpy()
        self._words: NDArray[np.int32] = words.values.to_numpy()

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self._starts) - 1

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each sentence [n], special tokens included."""
        return np.diff(self._starts)

    def ids(self, sentence: int) -> NDArray[np.int32]:
        """Token ids [T] of one sentence, special tokens included; a read-only view of the file."""
        return self._ids[self._starts[sentence] : self._starts[sentence + 1]]

    def words(self, sentence: int) -> NDArray[np.int32]:
        """The word [T] each token of `ids(sentence)` belongs to, counted from 0; −1 for special tokens."""
        return self._words[self._starts[sentence] : self._starts[sentence + 1]]


def tokenised_corpus(paths: Sequence[str], tokenizer: Any, max_length: int) -> TokenisedSentences:
    """The corpus as `tokenizer` (a transformers fast tokenizer) cuts it, at most `max_length` tokens a sentence.

    Raises:
        InputError: the corpus or the cache folder cannot be used, or the tokenizer is not a fast one.
    """
    return _tokenised(corpus_identity(paths), lambda: read_corpus(paths), tokenizer, max_length)


def tokenised_texts(sentences: Sequence[str], tokenizer: Any, max_length: int) -> TokenisedSentences:
    """The same of sentences in memory, such as those of an evaluation, which every trial encodes at every rung.

    Raises:
        InputError: the cache folder cannot be used, or the tokenizer is not a fast one.
    """
    described = hashlib.sha256()
    for sentence in sentences:
        described.update(len(sentence).to_bytes(8, "little") + sentence.encode("utf-8", "surrogatepass"))
    return _tokenised(described.hexdigest(), lambda: list(sentences), tokenizer, max_length)


def _tokenised(
    identity: str, sentences: Callable[[], list[str]], tokenizer: Any, max_length: int
) -> TokenisedSentences:
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer of {tokenizer.name_or_path} has no fast version (tokenizer.json): words cannot be told "
            "from tokens; choose an encoder that has one"
        )
    key = _key(identity, tokenizer, max_length)

    def write(path: Path) -> None:
        _write_arrow(path, sentences(), tokenizer, max_length)

    return TokenisedSentences(build_once(cache_dir() / "tokens" / f"{key}.arrow", write))


def _key(corpus: str, tokenizer: Any, max_length: int) -> str:
    cutter = json.loads(tokenizer.backend_tokenizer.to_str())
    # These two are left behind by the tokenizer's last call and say nothing about the next one.
    cutter.pop("truncation", None)
    cutter.pop("padding", None)
    described = json.dumps([_FORMAT, corpus, cutter, max_length], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def _write_arrow(path: Path, sentences: list[str], tokenizer: Any, max_length: int) -> None:
    lengths: list[int] = []
    ids: list[NDArray[np.int32]] = []
    words: list[NDArray[np.int32]] = []
    for start in range(0, len(sentences), _CHUNK_SENTENCES):
        chunk = sentences[start : start + _CHUNK_SENTENCES]
        encodings = tokenizer(chunk, truncation=True, max_length=max_length).encodings
        lengths += [len(encoding.ids) for encoding in encodings]
        ids.append(np.concatenate([np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]))
        words.append(
            np.fromiter(
                (-1 if word is None else word for encoding in encodings for word in encoding.word_ids), dtype=np.int32
            )
        )
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    columns = [pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(parts))) for parts in (ids, words)]
    batch = pa.record_batch(columns, names=["ids", "words"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
