"""Two and three real processes over gloo. They are forked from one that has imported torch, which saves seconds each.

`python test_sharding.py FOLDER` is that one: every rank goes through `SCENARIOS` and pickles what came of each.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

WORLDS = (2, 3)
SENTENCES = [
    *("A man plays the guitar.", "", "two dogs run in the snow", "A man plays the guitar.", "é ü 漢字"),
    *(f"{'the old child sees a big red house and ' * (row % 5)}number {row}" for row in range(32)),
]
"""37: an uneven share for two ranks and for three; with a repeated, an empty and an unknown one."""


class Sums:
    """An encoder without torch, that can be told to go wrong; it remembers what it was given."""

    def __init__(self, width=3, error=None, rows=0):
        self.width, self.error, self.rows = width, error, rows
        self.seen = []

    def encode(self, sentences):
        self.seen += sentences
        if self.error is not None:
            raise self.error
        totals = [sum(sentence.encode()) for sentence in sentences]
        return np.array([[total] * self.width for total in totals[self.rows :]], dtype=np.float32).reshape(
            -1, self.width
        )


class Death:
    def encode(self, sentences):
        os.kill(os.getpid(), signal.SIGKILL)


def sharded(encoder, sentences, group=None):
    from model.sharding import ShardedEncoder

    return ShardedEncoder(encoder, group).encode(sentences)


def seen(rank, ranks, encoder):
    sums = Sums()
    sharded(sums, SENTENCES)
    return sums.seen


def subgroup(rank, ranks, encoder):
    import torch.distributed as dist

    ends = dist.new_group([0, ranks - 1])
    sums = Sums()
    return sharded(sums, SENTENCES, ends), len(sums.seen)


def death(rank, ranks, encoder):
    start = time.monotonic()
    try:
        return sharded(Death() if rank == 1 else Sums(), SENTENCES)
    except RuntimeError:
        return time.monotonic() - start


SCENARIOS = {
    "one process": lambda rank, ranks, encoder: encoder.encode(SENTENCES),
    "shared": lambda rank, ranks, encoder: sharded(encoder, SENTENCES),
    "one sentence": lambda rank, ranks, encoder: sharded(encoder, SENTENCES[:1]),
    "no sentence": lambda rank, ranks, encoder: sharded(encoder, []),
    "seen": seen,
    "subgroup": subgroup,
    "one more": lambda rank, ranks, encoder: sharded(Sums(), SENTENCES[: 5 + (rank == 1)]),
    "none on one": lambda rank, ranks, encoder: sharded(Sums(), SENTENCES[: 5 * (rank != 1)]),
    "other order": lambda rank, ranks, encoder: sharded(Sums(), ["a", "b"] if rank != 1 else ["b", "a"]),
    "not a text": lambda rank, ranks, encoder: sharded(Sums(), ["a", None if rank == 1 else "b\ud800"]),
    "one raises": lambda rank, ranks, encoder: sharded(Sums(error=MemoryError("full") if rank == 1 else None), "abc"),
    "all raise": lambda rank, ranks, encoder: sharded(Sums(error=MemoryError(f"full {rank}")), "abc"),
    "a row too few": lambda rank, ranks, encoder: sharded(Sums(rows=int(rank == 1)), SENTENCES),
    "other width": lambda rank, ranks, encoder: sharded(Sums(width=3 + (rank == 1)), SENTENCES),
    "shared after errors": lambda rank, ranks, encoder: sharded(encoder, SENTENCES),
    "death": death,
}


def run_rank(rank, ranks, folder, encoder):
    import torch.distributed as dist

    # A rank that waits for ever ends by this time limit, with an outcome that no test below takes.
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous-{ranks}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=30),
    )
    outcomes = {}
    for name, scenario in SCENARIOS.items():
        try:
            outcomes[name] = scenario(rank, ranks, encoder)
        except Exception as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
        (folder / f"{ranks}-{rank}").write_bytes(pickle.dumps(outcomes))


def main(folder):
    import torch

    from model.config import EncoderConfig
    from model.encoder import load_encoder
    from tests.tiny import tiny_encoder_folder

    torch.set_num_threads(1)
    encoder = load_encoder(EncoderConfig(name=str(tiny_encoder_folder(folder / "encoder")), pooling="avg_last_hidden"))
    fork = multiprocessing.get_context("fork")
    for ranks in WORLDS:
        processes = [fork.Process(target=run_rank, args=(rank, ranks, folder, encoder)) for rank in range(ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Number of ranks → scenario → what each rank made of it."""
    folder = tmp_path_factory.mktemp("ranks")
    variables = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    subprocess.run([sys.executable, __file__, str(folder)], env=variables, check=True, timeout=200)
    read = {
        ranks: [pickle.loads((folder / f"{ranks}-{rank}").read_bytes()) for rank in range(ranks)] for ranks in WORLDS
    }
    return {
        ranks: {name: [outcome.get(name) for outcome in told] for name in SCENARIOS} for ranks, told in read.items()
    }


@pytest.fixture(params=WORLDS)
def told(request, outcomes):
    """Scenario → what each rank made of it."""
    return outcomes[request.param]


def _sums(sentences):
    return np.array([[sum(sentence.encode())] * 3 for sentence in sentences], dtype=np.float32)


def test_every_rank_has_all_rows_in_order_and_equal_to_one_processs(told):
    alone = told["one process"][0]
    assert alone.shape == (len(SENTENCES), 32)
    for rows in told["shared"]:
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, alone, rtol=0, atol=1e-5)


def test_every_sentence_is_encoded_on_one_rank_and_the_shares_are_even(told):
    assert Counter(text for texts in told["seen"] for text in texts) == Counter(SENTENCES)
    assert np.ptp([len(texts) for texts in told["seen"]]) <= 1


def test_more_ranks_than_sentences(told):
    for rows in told["one sentence"]:
        np.testing.assert_allclose(rows, told["one process"][0][:1], rtol=0, atol=1e-5)


def test_no_sentences_are_no_rows_of_the_encoders_width(told):
    assert [rows.shape for rows in told["no sentence"]] == [(0, 32)] * len(told["no sentence"])


def test_a_group_of_some_ranks_shares_and_the_others_encode_all_by_themselves(outcomes):
    told = outcomes[3]["subgroup"]
    for rows, _ in told:
        assert np.array_equal(rows, _sums(SENTENCES))
    assert [seen for _, seen in told] == [19, 37, 18]


@pytest.mark.parametrize(
    ("scenario", "named"),
    [
        ("one more", "rank 0 was given 5 and rank 1 6, and sentence 5"),
        ("none on one", "rank 0 was given 5 and rank 1 0, and sentence 0"),
        ("other order", "sentence 0 (from 0) is 'a' on rank 0, 'b' on rank 1"),
        ("not a text", "sentence 1 (from 0) is 'b\\ud800' on rank 0, None on rank 1"),
        ("other width", "3 on rank 0, 4 on rank 1"),
    ],
)
def test_ranks_that_do_not_agree_are_told_so_on_every_rank(told, scenario, named):
    for outcome in told[scenario]:
        assert isinstance(outcome, str)
        assert outcome.startswith("InputError: every rank must")
        assert named in outcome


@pytest.mark.parametrize(
    ("scenario", "own"), [("one raises", "MemoryError: full"), ("a row too few", "InputError: Sums.encode returned")]
)
def test_a_rank_that_fails_raises_its_own_error_and_the_others_name_it(told, scenario, own):
    for rank, outcome in enumerate(told[scenario]):
        assert outcome.startswith(own if rank == 1 else f"RuntimeError: rank 1 failed: {own}")


def test_ranks_that_all_fail_raise_each_its_own_error(told):
    assert told["all raise"] == [f"MemoryError: full {rank}" for rank in range(len(told["all raise"]))]


def test_after_errors_the_group_works_as_before(told):
    for rows in told["shared after errors"]:
        np.testing.assert_allclose(rows, told["one process"][0], rtol=0, atol=1e-5)


def test_a_rank_that_is_killed_ends_the_others_long_before_the_groups_time_limit(told):
    waited = [seconds for rank, seconds in enumerate(told["death"]) if rank != 1]
    assert told["death"][1] is None
    assert max(waited) < 15


if __name__ == "__main__":
    main(Path(sys.argv[1]))
