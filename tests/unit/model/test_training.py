import gc
import itertools
import math
import weakref

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from model.batches import DataOrder
from model.config import TrainConfig
from model.errors import DivergedError, InputError
from model.training import train
from tests.tiny import tiny_encoder_folder

WORDS = ["a", "man", "woman", "child", "dog", "plays", "eats", "sees", "red", "old", "guitar", "house", "slowly"]
BATCH = 4


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return tiny_encoder_folder(tmp_path_factory.mktemp("student"), layers=2, width=32)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return tiny_encoder_folder(tmp_path_factory.mktemp("teacher"), layers=2, width=32, seed=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("".join(" ".join(rng.choice(WORDS, size=3 + n % 9)) + "\n" for n in range(18)))
    return path


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def config(student, corpus):
    return TrainConfig.from_flat(
        {
            "encoder.name": str(student),
            "data.corpus": str(corpus),
            "optim.batch_size": BATCH,
            "optim.learning_rate": 1e-2,
            "budget.sentences": 6 * BATCH,
            "precision": "fp32",
        }
    )


EVERY_STEP = [BATCH * step for step in range(1, 7)]


def _losses(config, **arguments):
    return [progress.loss for progress in train(config, evaluate_at=EVERY_STEP, threads=1, **arguments)]


def _weights(progress):
    return {name: tensor.clone() for name, tensor in progress.encoder.state_dict().items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("view", ["dropout", "word_deletion", "span_crop"])
def test_a_resumed_run_has_the_losses_and_weights_of_the_undisturbed_one(config, tmp_path, view, precision):
    config = config.replace({"views.kind": view, "views.rate": 0.4, "precision": precision})
    undisturbed = []
    for progress in train(config, evaluate_at=EVERY_STEP, threads=1):
        undisturbed.append(progress.loss)
    weights = _weights(progress)

    stopped = train(config, evaluate_at=EVERY_STEP, threads=1)
    *_, progress = itertools.islice(stopped, 3)
    progress.save(tmp_path / "checkpoint")
    stopped.close()
    torch.manual_seed(12345)

    resumed = []
    for progress in train(config, evaluate_at=EVERY_STEP, threads=1, resume_from=tmp_path / "checkpoint"):
        resumed.append(progress.loss)
    assert resumed == undisturbed[3:]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in _weights(progress).items())


POINTS = [2 * BATCH, 7 * BATCH]
TWELVE_STEPS = {"budget.sentences": 12 * BATCH, "optim.learning_rate": 1e-3}


@pytest.fixture(scope="module")
def undisturbed(student, corpus):
    """Of twelve steps: step and loss at each point, and the weights at the end."""
    config = TrainConfig.from_flat(
        {"encoder.name": str(student), "data.corpus": str(corpus), "optim.batch_size": BATCH, "precision": "fp32"}
        | TWELVE_STEPS
    )
    found = []
    for progress in train(config, evaluate_at=POINTS, threads=1):
        found.append((progress.rung, progress.step, progress.loss))
    return config, found, _weights(progress)


def _from_asking(times):
    asked = itertools.count(1)
    return lambda: next(asked) >= times


@pytest.mark.parametrize("seed", range(4))
def test_a_run_interrupted_anywhere_goes_on_with_the_losses_and_weights_of_the_undisturbed_one(
    undisturbed, tmp_path, seed
):
    """Interrupted three times at random: the mean of a stretch that was cut has the bits of the whole one's."""
    config, expected, weights = undisturbed
    rng = np.random.default_rng(seed)
    found, cuts, checkpoint = [], [], None
    while not found or found[-1][1] < 12:
        steps = int(rng.integers(1, 6)) if len(cuts) < 3 else 99
        running = train(config, evaluate_at=POINTS, threads=1, resume_from=checkpoint, interrupt=_from_asking(steps))
        for progress in running:
            if progress.rung is None:
                cuts.append(progress.step)
                checkpoint = tmp_path / "checkpoint"
                progress.save(checkpoint)
                break
            found.append((progress.rung, progress.step, progress.loss))
        running.close()
        torch.manual_seed(steps)
    assert cuts
    assert found == expected
    assert all(torch.equal(tensor, weights[name]) for name, tensor in _weights(progress).items())


def test_an_interruption_that_is_not_taken_changes_nothing(undisturbed):
    config, expected, weights = undisturbed
    found, between = [], []
    for progress in train(config, evaluate_at=POINTS, threads=1, interrupt=lambda: True):
        if progress.rung is None:
            between.append(progress.step)
            progress.encoder.encode(["a man plays the guitar"])
        else:
            found.append((progress.rung, progress.step, progress.loss))
    assert between == [1, 3, 4, 5, 6, 8, 9, 10, 11]
    assert found == expected
    assert all(torch.equal(tensor, weights[name]) for name, tensor in _weights(progress).items())


def test_only_the_end_of_the_budget_is_the_end(config):
    ends = [(p.rung, p.is_end) for p in train(config, evaluate_at=[23], threads=1, interrupt=lambda: True)]
    assert ends == [(None, False)] * 5 + [(23, False), (24, True)]


@pytest.mark.parametrize("fractions", [(0.1, 0.4, 100.0), (0.5, 0.5000001, 0.9), ()])
def test_seconds_as_points_are_passed_at_the_first_step_that_ends_there_or_later(config, fractions):
    """Interrupted after every step, so that the same run tells when each of its steps ended."""
    *_, whole = train(config, threads=1)
    points = [whole.seconds * fraction for fraction in fractions]
    seen = list(train(config, evaluate_at=points[::-1], axis="seconds", threads=1, interrupt=lambda: True))
    assert [p.step for p in seen] == [1, 2, 3, 4, 5, 6]
    before = 0.0
    for progress in seen:
        passed = [point for point in points if before < point <= progress.seconds]
        if progress.step == 6:
            assert (progress.rung, progress.is_end) == (progress.seconds, True)
        else:
            assert (progress.rung, progress.is_end) == (max(passed, default=None), False)
        before = progress.seconds


def test_a_run_in_seconds_goes_on_after_its_last_point(config, tmp_path):
    running = train(config, evaluate_at=[1e-9, 2e-9, 1e9], axis="seconds", threads=1)
    first = next(running)
    assert (first.rung, first.step) == (2e-9, 1)
    first.save(tmp_path / "checkpoint")
    running.close()
    again = train(config, evaluate_at=[1e-9, 2e-9, 1e9], axis="seconds", threads=1, resume_from=tmp_path / "checkpoint")
    (end,) = list(again)
    assert (end.step, end.is_end, end.rung) == (6, True, end.seconds)
    assert end.seconds > first.seconds


def test_a_run_in_seconds_saved_at_its_end_has_nothing_left_to_do(config, tmp_path):
    running = train(config, axis="seconds", threads=1)
    next(running).save(tmp_path / "checkpoint")
    running.close()
    assert list(train(config, evaluate_at=[1e9], axis="seconds", threads=1, resume_from=tmp_path / "checkpoint")) == []


@pytest.mark.parametrize("point", [0.0, -1.0, math.inf, math.nan])
def test_a_point_that_is_no_time_is_refused(config, point):
    with pytest.raises(InputError, match="seconds of training"):
        next(train(config, evaluate_at=[point], axis="seconds"))


def test_what_the_consumer_does_between_two_points_changes_nothing(config):
    plain = _losses(config)
    disturbed = []
    for progress in train(config, evaluate_at=EVERY_STEP, threads=1):
        disturbed.append(progress.loss)
        progress.encoder.encode(["a man plays the guitar", "no"])
        progress.encoder.eval()
        torch.rand(7)
    assert disturbed == plain


def _naive_losses(folder, corpus, learning_rate, steps):
    """SimCSE as one would write it first: plain torch, no cache, no Accelerate, one view after the other."""
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    sentences = list(dict.fromkeys(corpus.read_text().splitlines()))
    order = DataOrder(len(sentences), BATCH, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01, fused=False)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    losses = []
    for step in range(steps):
        batch = tokenizer([sentences[row] for row in order.rows(step)], return_tensors="pt", padding=True)
        batch.pop("token_type_ids", None)
        views = []
        for _ in range(2):
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            views.append((hidden * mask).sum(1) / mask.sum(1))
        loss = torch.zeros(())
        for i in range(BATCH):
            logits = [torch.cosine_similarity(views[0][i], views[1][j], dim=0) / 0.05 for j in range(BATCH)]
            loss = loss - torch.log(torch.exp(logits[i]) / sum(map(torch.exp, logits))) / BATCH
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def test_the_loss_curve_is_that_of_a_naive_loop(config, student, corpus):
    knobs = {
        "encoder.dropout": 0.0,
        "encoder.pooling": "avg_last_hidden",
        "optim.weight_decay": 0.01,
        "optim.clip_norm": 0.5,
        "optim.learning_rate": 1e-3,
    }
    naive = _naive_losses(student, corpus, 1e-3, 6)
    np.testing.assert_allclose(_losses(config.replace(knobs)), naive, atol=1e-5)
    assert len(set(naive)) == 6


def test_distillation_alone_pulls_the_student_to_the_teacher(config, teacher):
    config = config.replace(
        {
            "teacher.name": str(teacher),
            "loss.contrastive_weight": 0,
            "loss.distillation_weight": 1,
            "budget.sentences": 40 * BATCH,
            "optim.learning_rate": 3e-3,
        }
    )
    losses = [progress.loss for progress in train(config, evaluate_at=[BATCH], threads=1)]
    assert losses[-1] < 0.5 * losses[0]


def test_both_losses_are_weighted_and_added(config, teacher):
    one_step = config.replace({"budget.sentences": BATCH, "encoder.dropout": 0.0, "teacher.name": str(teacher)})

    def loss(contrastive, distillation):
        knobs = {"loss.contrastive_weight": contrastive, "loss.distillation_weight": distillation}
        (progress,) = train(one_step.replace(knobs), threads=1)
        return progress.loss

    assert loss(0.5, 3) == pytest.approx(0.5 * loss(1, 0) + 3 * loss(0, 1), rel=1e-5)


def test_points_are_rounded_up_to_whole_batches_and_the_budget_is_the_last(config):
    config = config.replace({"budget.sentences": 22})
    seen = [(p.rung, p.step, p.sentences) for p in train(config, evaluate_at=[9, 1, 8, 9], threads=1)]
    assert seen == [(1, 1, 4), (8, 2, 8), (9, 3, 12), (22, 6, 24)]


def test_two_points_in_one_batch_are_two_reports_of_one_state(config, tmp_path):
    first, second = itertools.islice(train(config, evaluate_at=[1, 2], threads=1), 2)
    assert (first.step, first.loss) == (second.step, second.loss)
    running = train(config, evaluate_at=[1, 2], threads=1)
    next(running).save(tmp_path / "checkpoint")
    running.close()
    resumed = next(train(config, evaluate_at=[1, 2], threads=1, resume_from=tmp_path / "checkpoint"))
    assert (resumed.rung, resumed.loss) == (2, first.loss)


@pytest.mark.parametrize("points", [[0], [-1], [25]])
def test_a_point_outside_the_budget_is_refused(config, points):
    with pytest.raises(InputError, match=r"budget\.sentences = 24"):
        next(train(config, evaluate_at=points))


def test_the_loss_is_the_mean_since_the_last_point(config):
    every = _losses(config)
    thirds = [progress.loss for progress in train(config, evaluate_at=[3 * BATCH], threads=1)]
    assert thirds == pytest.approx([sum(every[:3]) / 3, sum(every[3:]) / 3])


def test_seconds_grow_only_while_training_and_across_a_resume(config, tmp_path):
    times = []
    running = train(config, evaluate_at=EVERY_STEP, threads=1)
    for progress in itertools.islice(running, 2):
        times.append(progress.seconds)
    progress.save(tmp_path / "checkpoint")
    running.close()
    times += [p.seconds for p in train(config, evaluate_at=EVERY_STEP, threads=1, resume_from=tmp_path / "checkpoint")]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 5


def test_a_large_learning_rate_is_a_divergence_with_its_step(config):
    config = config.replace({"optim.learning_rate": 1e38, "loss.temperature": 1e-3})
    with pytest.raises(DivergedError, match=r"step \d+.*optim\.learning_rate"):
        list(train(config, threads=1))


def test_a_checkpoint_of_another_run_is_refused_with_the_difference(config, tmp_path, corpus):
    running = train(config, evaluate_at=[BATCH], threads=1)
    next(running).save(tmp_path / "checkpoint")
    running.close()
    with pytest.raises(InputError, match=r"loss\.temperature was 0\.05 and is 0\.1"):
        next(train(config.replace({"loss.temperature": 0.1}), resume_from=tmp_path / "checkpoint"))
    (tmp_path / "copy.txt").write_bytes(corpus.read_bytes())
    moved = config.replace({"data.corpus": str(tmp_path / "copy.txt")})
    assert next(train(moved, threads=1, resume_from=tmp_path / "checkpoint")).rung == 6 * BATCH
    (tmp_path / "copy.txt").write_bytes(corpus.read_bytes() + b"one more\n")
    with pytest.raises(InputError, match=r"data\.corpus has other contents"):
        next(train(moved, resume_from=tmp_path / "checkpoint"))


def test_save_after_the_point_is_refused(config, tmp_path):
    running = train(config, evaluate_at=EVERY_STEP, threads=1)
    first = next(running)
    next(running)
    with pytest.raises(RuntimeError, match="evaluation point"):
        first.save(tmp_path / "checkpoint")
    running.close()


def test_a_closed_training_holds_no_memory(config):
    running = train(config, evaluate_at=EVERY_STEP, threads=1)
    progress = next(running)
    encoder = weakref.ref(progress.encoder)
    running.close()
    del progress
    gc.collect()
    assert encoder() is None


def test_precisions_may_change_within_one_process(config):
    config = config.replace({"budget.sentences": BATCH})
    losses = [next(train(config.replace({"precision": name}), threads=1)).loss for name in ("fp32", "bf16", "fp32")]
    assert losses[0] == losses[2] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_bf16_training_still_encodes_in_fp32(config, tmp_path):
    from model.encoder import load_encoder, save_encoder

    progress = next(train(config.replace({"precision": "bf16"}), evaluate_at=[BATCH], threads=1))
    save_encoder(progress.encoder, tmp_path / "encoder")
    saved = load_encoder(config.encoder.model_copy(update={"name": str(tmp_path / "encoder")}))
    sentences = ["a man plays the guitar", "the old dog"]
    np.testing.assert_array_equal(progress.encoder.encode(sentences), saved.encode(sentences))


def test_the_weights_are_those_of_the_seed(config):
    scratch = config.replace({"encoder.weights": "random", "budget.sentences": BATCH})
    first, again, other = (next(train(scratch.replace({"seed": seed}), threads=1)).loss for seed in (3, 3, 4))
    assert first == again != other


def test_threads_are_set_for_this_process(config):
    before = torch.get_num_threads()
    try:
        next(train(config, threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_batch_larger_than_the_corpus_is_refused(config):
    with pytest.raises(InputError, match=r"optim\.batch_size"):
        next(train(config.replace({"optim.batch_size": 64})))


def test_a_length_beyond_the_encoders_positions_is_refused(config):
    with pytest.raises(InputError, match=r"encoder\.max_length"):
        next(train(config.replace({"encoder.max_length": 512}), threads=1))
