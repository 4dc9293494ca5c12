"""The leak audit: which pairs or sentences of one split occur again in another split, or in a training corpus.

A choice made on pairs that the test holds too is no choice made without it. STS-B was collected from STS12 to STS17
(Cer et al. 2017), so its dev split is largely theirs.

Two levels are told. Same text: case, spaces and the order of a pair's two sentences are ignored. Same words:
punctuation and symbols as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from evaluation.pairs import Pairs
from evaluation.text import normalised

EXAMPLES = 3
"""Examples that an overlap keeps of each level."""

Text = tuple[str, ...]
"""A sentence by itself, or the two of a pair."""


class _WordsOnly(dict[int, str]):
    """For `str.translate`: a character that is no part of a word becomes a space."""

    def __missing__(self, code: int) -> str:
        # Marks too, unlike a regular expression's \w: the vowels of Hindi are marks.
        kept = chr(code) if unicodedata.category(chr(code))[0] in "LMN" else " "
        self[code] = kept
        return kept


_WORDS_ONLY = _WordsOnly()


def words(text: str) -> str:
    """Letters, marks and numbers, folded and joined by one space; the normalised text where there are none.

    Equal for all texts that `normalised` calls the same. Compatibility forms (NFKC) are folded too: "①" is "1".
    """
    same = normalised(text)
    return " ".join(unicodedata.normalize("NFKC", same).casefold().translate(_WORDS_ONLY).split()) or same


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts and what each is compared by; the three columns go together."""

    originals: tuple[Text, ...]
    text_keys: tuple[str, ...]
    words_keys: tuple[str, ...]

    @classmethod
    def of_pairs(cls, pairs: Pairs) -> Texts:
        """One entry a scored pair: a pair that a split holds twice counts twice, as it does in the score."""
        return cls._of(zip(pairs.first, pairs.second, strict=True))

    @classmethod
    def of_sentences(cls, sentences: Iterable[str]) -> Texts:
        """One entry a sentence that differs in its normalised text, as it is written first."""
        distinct: dict[str, str] = {}
        for sentence in sentences:
            distinct.setdefault(normalised(sentence), sentence)
        return cls._of((sentence,) for sentence in distinct.values())

    @classmethod
    def _of(cls, texts: Iterable[Text]) -> Texts:
        originals = tuple(texts)
        return cls(
            originals,
            # Strings remember their hash, tuples do not; no key of a sentence holds a line end.
            tuple("\n".join(sorted(map(normalised, text))) for text in originals),
            tuple("\n".join(sorted(map(words, text))) for text in originals),
        )

    @cached_property
    def by_text(self) -> dict[str, Text]:
        """Text key → an original that has it."""
        return dict(zip(self.text_keys, self.originals, strict=True))

    @cached_property
    def by_words(self) -> dict[str, Text]:
        """Words key → an original that has it."""
        return dict(zip(self.words_keys, self.originals, strict=True))

    def __add__(self, other: Texts) -> Texts:
        return Texts(
            self.originals + other.originals, self.text_keys + other.text_keys, self.words_keys + other.words_keys
        )

    def __len__(self) -> int:
        return len(self.originals)


@dataclass(frozen=True)
class Example:
    """A text and what it was found as."""

    text: Text
    found_as: Text
    same_text: bool
    """False: only the words are the same."""


@dataclass(frozen=True)
class Overlap:
    """How many of some texts occur among others."""

    of: int
    same_text: int
    same_words: int
    """Counts those of the same text too."""
    examples: tuple[Example, ...]
    """The first `EXAMPLES` of the same text, then as many of the same words only."""


def shared(these: Texts, those: Texts) -> Overlap:
    """How many of `these` occur among `those`. The other direction is another number: either may repeat itself."""
    same_text: list[Example] = []
    same_words: list[Example] = []
    for original, text_key, words_key in zip(these.originals, these.text_keys, these.words_keys, strict=True):
        if words_key not in those.by_words:  # then the same text is not there either
            continue
        if text_key in those.by_text:
            same_text.append(Example(original, those.by_text[text_key], same_text=True))
        else:
            same_words.append(Example(original, those.by_words[words_key], same_text=False))
    return Overlap(
        of=len(these),
        same_text=len(same_text),
        same_words=len(same_text) + len(same_words),
        examples=(*same_text[:EXAMPLES], *same_words[:EXAMPLES]),
    )


def leaked(corpus: Iterable[str], tests: Texts) -> list[str]:
    """The sentences of a training corpus that have the same words as one of `tests`, in the order of the corpus.

    Args:
        corpus: read once, a sentence at a time; a million takes seconds.
        tests: made by `Texts.of_sentences`; pairs are never found.
    """
    return [sentence for sentence in corpus if words(sentence) in tests.by_words]
