"""The lexical floor: an encoder that was never trained and knows only how words are spelt and how frequent they are.

A word is the mean of random sign vectors, one per character trigram (after fastText, Bojanowski et al. 2017);
a sentence is the sum of its words weighted by a / (a + p(word)), less the directions common to all sentences (SIF,
Arora et al. 2017, algorithm 1). Whoever tunes an encoder wants to be above it.

The defaults were chosen by the score on STS-B dev.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import shake_128
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputError
from evaluation.readers import Faults, read_lines

WIDTH = 1024
NGRAM_LENGTH = 3
SIF_WEIGHT = 2e-4
"""a of the weight a / (a + p(word))."""
SENTENCES_PER_COMPONENT = 10
"""Fewer sentences than this for each removed component describe themselves rather than English."""
CHUNK = 2048
"""Sentences whose word vectors are in memory together."""

_WORD = re.compile(r"\w+")


def words_of(sentence: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores; punctuation carries no meaning here."""
    return _WORD.findall(sentence.lower())


def spelling_vector(word: str) -> NDArray[np.float32]:
    """[WIDTH]: the mean sign vector of the trigrams of `<word>`, scaled to norm 1.

    Without the scaling long words, whose many signs cancel, would weigh less than short ones (0.6 on STS-B dev).
    The signs are the bits of a hash, so that they are the same in every process and in every version of numpy.
    """
    marked = f"<{word}>"
    ngrams = [marked[i : i + NGRAM_LENGTH] for i in range(len(marked) - NGRAM_LENGTH + 1)]
    digests = b"".join(shake_128(ngram.encode()).digest(WIDTH // 8) for ngram in ngrams)
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(len(ngrams), WIDTH)
    signs = 2.0 * bits.mean(axis=0, dtype=np.float32) - 1.0
    vector: NDArray[np.float32] = signs / max(np.linalg.norm(signs), np.finfo(np.float32).tiny)
    return vector


@dataclass(frozen=True, eq=False)
class LexicalEncoder:
    """An `evaluation.protocol.Encoder` without a neural network; make one by `fit`."""

    counts: Mapping[str, int]
    """Word → how often it occurs; a word that is not there is as rare as the rarest that is."""
    common: NDArray[np.float32]
    """[components, WIDTH], orthonormal: the directions that are removed."""

    @classmethod
    def fit(
        cls,
        sentences: Iterable[str] = (),
        word_counts: Mapping[str, int] | None = None,
        components: int = 50,
    ) -> LexicalEncoder:
        """Count words and find the directions that training sentences have in common.

        Args:
            sentences: a training corpus, never the sentences of a task. Without any, no direction is removed.
            word_counts: word frequencies from elsewhere; without them words are counted in `sentences`.
            components: directions to remove; a small corpus gives one for every `SENTENCES_PER_COMPONENT` sentences.

        Raises:
            InputError: there is neither a word in `sentences` nor in `word_counts`.
        """
        corpus = list(sentences)
        counts = word_counts if word_counts else Counter(word for text in corpus for word in words_of(text))
        if not counts:
            raise InputError("the lexical encoder was given no word: give training sentences or word counts")
        blank = cls(counts, np.zeros((0, WIDTH), dtype=np.float32))
        removed = min(components, len(corpus) // SENTENCES_PER_COMPONENT)
        return cls(counts, blank._top_directions(corpus, removed)) if removed > 0 else blank

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Sentences → [n, WIDTH]; a sentence without a word is the zero vector."""
        chunks = [chunk - (chunk @ self.common.T) @ self.common for chunk in self._weighted_sums(sentences)]
        return np.concatenate(chunks) if chunks else np.zeros((0, WIDTH), dtype=np.float32)

    def _weighted_sums(self, sentences: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        total, rarest = sum(self.counts.values()), min(self.counts.values())
        for start in range(0, len(sentences), CHUNK):
            texts = [words_of(text) for text in sentences[start : start + CHUNK]]
            index = {word: i for i, word in enumerate(dict.fromkeys(word for text in texts for word in text))}
            vectors = np.zeros((len(index), WIDTH), dtype=np.float32)
            for word, i in index.items():
                probability = self.counts.get(word, rarest) / total
                vectors[i] = spelling_vector(word) * np.float32(SIF_WEIGHT / (SIF_WEIGHT + probability))
            yield np.stack([vectors[[index[word] for word in text]].sum(axis=0) for text in texts])

    def _top_directions(self, sentences: Sequence[str], count: int) -> NDArray[np.float32]:
        """The first right singular vectors of the unit sentence vectors, [count, WIDTH], by their Gram matrix."""
        gram = np.zeros((WIDTH, WIDTH), dtype=np.float64)
        for chunk in self._weighted_sums(sentences):
            rows = chunk / np.maximum(np.linalg.norm(chunk, axis=1, keepdims=True), np.finfo(np.float32).tiny)
            gram += rows.T @ rows
        _, directions = np.linalg.eigh(gram)  # ascending
        return directions[:, ::-1][:, :count].T.astype(np.float32)


def read_word_counts(path: Path) -> dict[str, int]:
    """`word count` a line → counts of the lower-case words.

    Raises:
        InputError: the file is missing or empty, or a line is not a word and a count above 0; all faults at once.
    """
    faults = Faults()
    counts: Counter[str] = Counter()
    for number, line in enumerate(read_lines(path, faults) or (), start=1):
        match line.split():
            case [word, count] if count.isascii() and count.isdigit() and int(count) > 0:
                counts[word.lower()] += int(count)
            case _:
                faults.add(path, number, f"{line!r} is not a word and a count above 0, separated by a space")
    faults.raise_any("the word counts cannot be read as they are:", "Every line must be `word count`.")
    return dict(counts)
