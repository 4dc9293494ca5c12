"""One training on two and three real processes over gloo, beside the same training on one.

`python test_ranks.py FOLDER` forks the ranks from one process that has imported torch; every rank goes through
`SCENARIOS` and pickles what came of each.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

WORLDS = (1, 2, 3)
STEPS, BATCH = 20, 7
"""A batch that neither two nor three ranks share evenly."""


def config_of(folder, **knobs):
    from model.config import TrainConfig

    return TrainConfig.from_flat(
        {
            "encoder.name": str(folder / "encoder"),
            "encoder.pooling": "avg_last_hidden",
            "encoder.dropout": 0.0,
            "data.corpus": str(folder / "corpus.txt"),
            "optim.batch_size": BATCH,
            "optim.learning_rate": 1e-3,
            "budget.sentences": STEPS * BATCH,
            "precision": "fp32",
        }
        | {name.replace("__", "."): value for name, value in knobs.items()}
    )


EVERY_STEP = [BATCH * step for step in range(1, STEPS + 1)]


def losses_and_weights(config, ranks, **arguments):
    from model.training import train

    losses, weights, embeddings = [], {}, None
    for at in train(config, evaluate_at=EVERY_STEP, threads=1, ranks=ranks, **arguments):
        losses.append(at.loss)
        if at.is_end:
            weights = {name: value.clone().numpy() for name, value in at.encoder.state_dict().items()}
            embeddings = at.encoder.encode(["a man plays the guitar", "two dogs run in the snow", "the red house"])
    return losses, weights, embeddings


def words_deleted(folder, ranks):
    return losses_and_weights(config_of(folder, views__kind="word_deletion", views__rate=0.3), ranks)


def distilled(folder, ranks):
    teacher = {"teacher__name": str(folder / "teacher"), "loss__distillation_weight": 1.0}
    return losses_and_weights(config_of(folder, loss__contrastive_weight=0.5, **teacher), ranks)


def distilled_alone(folder, ranks):
    teacher = {"teacher__name": str(folder / "teacher"), "loss__distillation_weight": 1.0}
    return losses_and_weights(config_of(folder, loss__contrastive_weight=0.0, **teacher), ranks)


def last_layer_unused(folder, ranks):
    return losses_and_weights(config_of(folder, encoder__pooling="avg_last_second_hidden"), ranks)


def saved(folder, ranks):
    """Up to the middle, where the first rank saves; and on to the end."""
    from model.training import train

    losses = []
    for at in train(config_of(folder), evaluate_at=EVERY_STEP, threads=1, ranks=ranks):
        losses.append(at.loss)
        if at.step == STEPS // 2 and ranks.is_first:
            at.save(folder / f"checkpoint-{ranks.size}")
    return losses


def resumed(folder, ranks):
    """From the checkpoint of two ranks, on however many there are."""
    return losses_and_weights(config_of(folder), ranks, resume_from=folder / "checkpoint-2")[0]


def dropped(folder, ranks):
    """With dropout: the losses, and what the first rank's checkpoint in the middle goes on to."""
    from model.training import train

    config, losses, where = config_of(folder, encoder__dropout=0.1), [], folder / f"dropped-{ranks.size}"
    states = []
    for at in train(config, evaluate_at=EVERY_STEP, threads=1, ranks=ranks):
        import torch

        losses.append(at.loss)
        states = ranks.of_all(torch.get_rng_state().numpy().tobytes())
        if at.step == STEPS // 2:
            if ranks.is_first:
                at.save(where)
            ranks.of_all(None)
    again = losses_and_weights(config, ranks, resume_from=where)[0]
    return losses, again, len(set(states))


def interrupted(folder, ranks):
    """The first rank alone wants a break, after every third step; the others would at every one."""
    from model.training import train

    asked = iter(range(1, 1000))
    steps = []
    for at in train(
        config_of(folder), threads=1, ranks=ranks, interrupt=lambda: next(asked) % 3 == 0 if ranks.is_first else True
    ):
        steps.append((at.step, at.rung))
    return steps


def seconds(folder, ranks):
    """Evaluation points in seconds, on ranks whose clocks go 1, 2 and 3 hundredths of a second a step."""
    import model.trainer
    from model.training import train

    plain, passed = model.trainer.Trainer.advance, 0.0

    def timed(self, *batch):
        nonlocal passed
        passed += 0.01 * (1 + ranks.rank)
        return plain(self, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.trainer.Trainer, "advance", timed)
        patch.setattr(time, "perf_counter", lambda: passed)
        points = train(config_of(folder), evaluate_at=[0.055, 0.125], axis="seconds", threads=1, ranks=ranks)
        return [(at.step, at.is_end) for at in points]


def too_small(folder, ranks):
    from model.training import train

    return len(list(train(config_of(folder, optim__batch_size=2), threads=1, ranks=ranks)))


def decided(folder, ranks):
    """What the first rank alone knows."""
    return ranks.from_first({"rank": ranks.rank}), ranks.of_all(ranks.rank), ranks.agree(lambda: ranks.rank == 0)


SCENARIOS = {
    each.__name__: each
    for each in (
        *(words_deleted, distilled, distilled_alone, last_layer_unused, saved, dropped, interrupted, seconds),
        *(too_small, decided),
    )
}
AFTERWARDS = {"resumed": resumed}
"""What needs a checkpoint of another number of ranks."""


def run_rank(rank, ranks, folder, scenarios, name):
    import torch.distributed as dist

    from model.ranks import Ranks

    if ranks > 1:
        # A rank that waits for ever ends by this time limit, with an outcome that no test below takes.
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/rendezvous-{name}-{ranks}",
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=60),
        )
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
        os.environ["LOCAL_WORLD_SIZE"] = str(ranks)
    own, outcomes = Ranks.of_this_process(), {}
    for each, scenario in scenarios.items():
        try:
            outcomes[each] = scenario(folder, own)
        except Exception as error:
            outcomes[each] = f"{type(error).__name__}: {error}"
    (folder / f"{name}-{ranks}-{rank}").write_bytes(pickle.dumps(outcomes))


def main(folder):
    import torch

    from model.corpus import read_corpus
    from model.encoder import load_encoder  # noqa: F401  (before the fork: it takes seconds)
    from model.training import train  # noqa: F401
    from tests.tiny import tiny_encoder_folder

    torch.set_num_threads(1)
    tiny_encoder_folder(folder / "encoder", layers=3)
    tiny_encoder_folder(folder / "teacher", layers=2, seed=1)
    (folder / "corpus.txt").write_text("\n".join(read_corpus(["demo"])[:100]) + "\n")
    fork = multiprocessing.get_context("fork")
    for name, scenarios in (("first", SCENARIOS), ("then", AFTERWARDS)):
        for ranks in WORLDS:
            processes = [
                fork.Process(target=run_rank, args=(rank, ranks, folder, scenarios, name)) for rank in range(ranks)
            ]
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
        "STSWEEP_CACHE": str(folder / "cache"),
    }
    subprocess.run([sys.executable, __file__, str(folder)], env=variables, check=True, timeout=280)

    def told(ranks):
        read = [
            {
                key: value
                for name in ("first", "then")
                for key, value in _read(folder / f"{name}-{ranks}-{rank}").items()
            }
            for rank in range(ranks)
        ]
        return {name: [outcome[name] for outcome in read] for name in (*SCENARIOS, *AFTERWARDS)}

    return {ranks: told(ranks) for ranks in WORLDS}


def _read(path):
    return pickle.loads(path.read_bytes())


several = pytest.mark.parametrize("ranks", WORLDS[1:])


@several
@pytest.mark.parametrize("scenario", ["words_deleted", "distilled", "distilled_alone", "last_layer_unused"])
def test_without_dropout_every_loss_and_the_trained_encoder_are_those_of_one_process(outcomes, ranks, scenario):
    alone, _, embeddings = outcomes[1][scenario][0]
    assert len(alone) == STEPS
    assert alone[-1] < alone[0], "it learns"
    for losses, _, trained in outcomes[ranks][scenario]:
        np.testing.assert_allclose(losses, alone, rtol=0, atol=1e-5)
        # Not the weights: a key's bias has no gradient but rounding, which Adam makes as large as any other's.
        np.testing.assert_allclose(trained, embeddings, rtol=0, atol=1e-3)


@several
def test_every_rank_holds_the_same_weights_to_the_bit(outcomes, ranks):
    first, *others = (weights for _, weights, _ in outcomes[ranks]["words_deleted"])
    assert first
    assert all(np.array_equal(first[name], weights[name]) for weights in others for name in first)


@pytest.mark.parametrize("ranks", WORLDS)
def test_a_checkpoint_of_two_ranks_goes_on_on_any_number(outcomes, ranks):
    uninterrupted = outcomes[1]["saved"][0]
    for losses in outcomes[ranks]["resumed"]:
        assert len(losses) == STEPS - STEPS // 2
        np.testing.assert_allclose(losses, uninterrupted[STEPS // 2 :], rtol=0, atol=1e-5)


@pytest.mark.parametrize("ranks", WORLDS)
def test_with_dropout_as_many_ranks_go_on_as_if_never_interrupted(outcomes, ranks):
    for losses, again, _ in outcomes[ranks]["dropped"]:
        if ranks < 3:  # more add their gradients in an order that differs in a run's first step
            assert again == losses[STEPS // 2 :]
        np.testing.assert_allclose(again, losses[STEPS // 2 :], rtol=0, atol=1e-4)


@several
def test_no_two_ranks_draw_the_same_dropout(outcomes, ranks):
    assert {states for _, _, states in outcomes[ranks]["dropped"]} == {ranks}


@pytest.mark.parametrize("ranks", WORLDS)
def test_all_ranks_break_where_the_first_one_wants_to(outcomes, ranks):
    expected = [(step, None) for step in range(3, STEPS, 3)] + [(STEPS, STEPS * BATCH)]
    assert outcomes[ranks]["interrupted"] == [expected] * ranks


@pytest.mark.parametrize("ranks", WORLDS)
def test_points_in_seconds_are_passed_by_the_first_ranks_clock(outcomes, ranks):
    assert outcomes[ranks]["seconds"] == [[(6, False), (13, False), (STEPS, True)]] * ranks


def test_a_batch_of_fewer_sentences_than_ranks_is_refused(outcomes):
    assert outcomes[2]["too_small"] == [1, 1], "two share one of two"
    for outcome in outcomes[3]["too_small"]:
        assert outcome.startswith("MisfitError: optim.batch_size is 2 and 3 workers share a batch")


@pytest.mark.parametrize("ranks", WORLDS)
def test_what_the_first_rank_knows_all_ranks_are_told(outcomes, ranks):
    assert outcomes[ranks]["decided"] == [({"rank": 0}, list(range(ranks)), True)] * ranks


if __name__ == "__main__":
    main(Path(sys.argv[1]))
