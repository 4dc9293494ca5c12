"""What `stsweep data check` found, as plain data and as text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.leaks import Overlap
from evaluation.tables import aligned

_WIDEST = 100
"""Characters of an example that are shown."""


@dataclass(frozen=True)
class Shared:
    """What one split has in common with one test set, or with several together."""

    pairs: Overlap
    """Pairs of the split that occur in the test."""
    test_pairs: Overlap
    """Pairs of the test that occur in the split."""
    sentences: Overlap
    """Distinct sentences of the split that occur in the test, whatever they are paired with."""


@dataclass(frozen=True)
class SplitAudit:
    """One split against every test set but itself, one by one and together."""

    split: str
    each: Mapping[str, Shared]
    together: Shared


@dataclass(frozen=True)
class CorpusAudit:
    """A training corpus against every test set, one by one and together."""

    files: tuple[str, ...]
    sentences: int
    leaked: int
    """Of its sentences, those that have the words of a test sentence."""
    each: Mapping[str, Overlap]
    """Test → of its distinct sentences, those that occur in the corpus."""
    together: Overlap
    written: str | None
    """The file that the other sentences were written to."""


@dataclass(frozen=True)
class LeakReport:
    """The audit. Splits are named as in `stsb dev`."""

    data_dir: str | None
    not_audited: Mapping[str, Sequence[str]]
    """Reason → the splits that could not be read."""
    objective: str | None
    """The split of the spec's objective, one of `selection`."""
    clean: tuple[str, ...]
    """Published splits to choose on, no pair of which is in a test. Empty unless every test was audited."""
    selection: tuple[SplitAudit, ...]
    tests: tuple[SplitAudit, ...]
    corpus: CorpusAudit | None

    def to_json(self) -> dict[str, Any]:
        """Every field; each overlap has its counts and a few examples."""
        return asdict(self)

    def to_text(self) -> str:
        """The counts that are not zero, and what to do next."""
        lines = [*self._head()]
        if self.selection:
            lines += _section("Pairs to choose on that a test holds too", "split", self.selection)
        if len(self.tests) > 1:
            lines += _section(
                "Pairs that two tests hold, which their average counts twice", "test", self.tests, mirrored=True
            )
        lines += [*self._corpus_lines(), *self._objective_lines(), *(f"Next: {step}" for step in self._steps())]
        return "\n".join(lines)

    def _head(self) -> Iterator[str]:
        yield f"Data: {self.data_dir or 'none given'}; tests: {', '.join(audit.split for audit in self.tests)}"
        yield "Same text: case, spaces and the order of a pair ignored. Same words: punctuation too, so never fewer."
        for reason, splits in self.not_audited.items():
            yield f"Not audited: {', '.join(splits)}: " + reason.replace("\n", "\n  ")

    def _corpus_lines(self) -> Iterator[str]:
        corpus = self.corpus
        yield ""
        if corpus is None:
            yield "No corpus was audited; give one by --corpus FILES"
            return
        yield f"Corpus {', '.join(corpus.files)}"
        yield f"{corpus.leaked:,} of {corpus.sentences:,} sentences have the words of a test sentence"
        if corpus.together.same_words:
            found = {test: overlap for test, overlap in corpus.each.items() if overlap.same_words}
            rows = [["all", *_cells(corpus.together)], *([test, *_cells(overlap)] for test, overlap in found.items())]
            yield aligned([["sentences of test", "same text", "same words"], *rows])
            for example in corpus.together.examples:
                level = "same text" if example.same_text else "same words"
                yield f"  {level}: {example.found_as[0]:.{_WIDEST}}"
        if corpus.written:
            yield f"{corpus.sentences - corpus.leaked:,} sentences written to {corpus.written}"

    def _objective_lines(self) -> Iterator[str]:
        judged = next((audit.together for audit in self.selection if audit.split == self.objective), None)
        if judged is not None:
            pairs, sentences = judged.pairs, judged.sentences
            yield ""
            yield (
                f"objective {self.objective}: {pairs.same_text:,} of {pairs.of:,} pairs occur in these tests "
                f"({pairs.same_words:,} by their words), and {sentences.same_text:,} of {sentences.of:,} sentences"
            )

    def _steps(self) -> Iterator[str]:
        leaky = [audit.split for audit in self.selection if audit.together.pairs.same_text]
        if self.clean and (self.objective in leaky if self.objective else leaky):
            task, split = self.clean[0].split()
            yield (
                f"choose on pairs that no test holds ({', '.join(self.clean)}): objective: {{task: {task}, "
                f"split: {split}}} in the spec, or --set objective.task={task} --set objective.split={split}"
            )
        if self.corpus is not None and self.corpus.written:
            yield f"train.data.corpus: [{self.corpus.written}] in the spec, or --set data.corpus={self.corpus.written}"
        elif self.corpus is not None and self.corpus.leaked:
            files = shlex.quote(",".join(self.corpus.files))
            yield f"stsweep data check --corpus {files} --write-clean clean.txt leaves those {self.corpus.leaked:,} out"


def _section(title: str, kind: str, audits: Sequence[SplitAudit], *, mirrored: bool = False) -> Iterator[str]:
    """A table of each split with all tests, and with those that it shares a pair with.

    Args:
        mirrored: both sides of every combination are among `audits`; it is shown at the first.
    """
    rows = [[kind, "in test", "same text", "same words", "pairs of that test", "sentences"]]
    unlisted, only_sentences = 0, 0
    seen: set[str] = set()
    for audit in audits:
        seen.add(audit.split)
        rows.append([audit.split, "others" if mirrored else "all", *_shared_cells(audit.together)])
        for test, found in audit.each.items():
            if mirrored and test in seen:
                continue
            if found.pairs.same_words:
                rows.append(["", test, *_shared_cells(found)])
            else:
                unlisted += 1
                only_sentences += bool(found.sentences.same_words)
    yield ""
    yield title
    yield aligned(rows, left=2)
    if unlisted:
        yield f"Not listed: {unlisted} without a common pair, of which {only_sentences} have common sentences"


def _shared_cells(found: Shared) -> list[str]:
    return [*_cells(found.pairs), _share(found.test_pairs), _share(found.sentences)]


def _cells(overlap: Overlap) -> list[str]:
    return [_share(overlap), f"{overlap.same_words:,}"]


def _share(overlap: Overlap) -> str:
    return f"{overlap.same_text:,} of {overlap.of:,}"
