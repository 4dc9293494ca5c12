"""Encoding: batches, precision, several poolings at once, tokens kept on disk."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from model.config import EncoderConfig
from model.encoder import load_encoder
from model.errors import MisfitError
from model.packed_linear import packed_linear_layers
from model.pooling import POOLINGS
from tests.tiny import POSITIONS, tiny_encoder_folder

SENTENCES = [
    "a man plays the guitar",
    "no",
    "",
    "the old woman walks slowly on the street today",
    "the blue bird sings",
]
LONG = "a man " * POSITIONS


@pytest.fixture(scope="module", params=["distilbert", "bert"])
def folder(request, tmp_path_factory):
    return tiny_encoder_folder(tmp_path_factory.mktemp("encoder"), architecture=request.param, layers=6)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(folder, **knobs):
    return load_encoder(EncoderConfig(name=str(folder), **knobs))


def copy(folder, to):
    shutil.copytree(folder, to)
    return to


@pytest.mark.parametrize("batch_tokens", [1, 20, 8192])
def test_encoding_together_is_encoding_one_by_one(folder, batch_tokens):
    encoder = load(folder)
    alone = np.concatenate([encoder.encode([sentence]) for sentence in SENTENCES])
    together = encoder.encode(SENTENCES, batch_tokens=batch_tokens)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.dtype == np.float32


def test_no_sentence_is_no_row(folder):
    assert load(folder, pooling="concat_last4").encode([]).shape == (0, 4 * 32)


def test_batches_keep_to_the_token_budget_longest_first(folder):
    encoder = load(folder)
    shapes = []
    encoder.transformer.register_forward_pre_hook(
        lambda _, inputs, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with several, batches run at the same time, and who is called first is luck
    try:
        encoder.encode(SENTENCES * 5, batch_tokens=40)
    finally:
        torch.set_num_threads(threads)
    assert all(rows * length <= 40 for rows, length in shapes)
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)
    assert sum(rows for rows, _ in shapes) == 25


def test_encoding_leaves_mode_and_randomness_as_they_were(folder):
    encoder = load(folder).train()
    encoder.transformer.embeddings.eval()
    before = [part.training for part in encoder.modules()]
    state = torch.get_rng_state()
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.encode(SENTENCES, precision="bf16")
    assert [part.training for part in encoder.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


def test_bf16_is_close_and_gives_fp32_vectors(folder):
    encoder = load(folder)
    exact, rough = encoder.encode(SENTENCES), encoder.encode(SENTENCES, precision="bf16")
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough)
    cosines = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosines.min() > 0.99  # bf16 keeps 8 bits


def test_fp32_means_fp32_inside_somebody_elses_autocast(folder):
    encoder = load(folder)
    with torch.autocast("cpu", torch.bfloat16):
        inside = encoder.encode(SENTENCES)
    np.testing.assert_array_equal(inside, encoder.encode(SENTENCES))


def test_text_is_cut_at_the_position_limit_only_whatever_the_tokenizer_says(folder, tmp_path):
    short = copy(folder, tmp_path / "short")
    settings = json.loads((short / "tokenizer_config.json").read_text())
    (short / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 8}))
    encoder = load(short, max_length=8)
    lengths = []
    encoder.transformer.register_forward_pre_hook(
        lambda _, inputs, named: lengths.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    encoder.encode(["a man " * 10, LONG])
    assert lengths == [POSITIONS]  # both in one batch, padded to the longer
    np.testing.assert_array_equal(encoder.encode([LONG]), encoder.encode([LONG + "a dog"]))
    assert not np.allclose(encoder.encode(["a man " * 10]), encoder.encode(["a man " * 10 + "dog"]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_poolings_at_once_are_each_pooling_alone(folder, precision):
    encoder = load(folder)
    together = encoder.encode_each(list(POOLINGS), SENTENCES, precision=precision)
    for encoder.pooling in POOLINGS:
        alone = encoder.encode(SENTENCES, precision=precision)
        np.testing.assert_allclose(together[encoder.pooling], alone, atol=1e-6, err_msg=encoder.pooling)


def test_all_poolings_take_one_forward_pass(folder):
    encoder = load(folder)
    calls = []
    encoder.transformer.register_forward_hook(lambda *_: calls.append(1))
    encoder.encode_each(list(POOLINGS), SENTENCES)
    assert len(calls) == 1


def test_a_pooling_that_needs_more_layers_is_refused(tmp_path):
    encoder = load(tiny_encoder_folder(tmp_path / "encoder", layers=2), pooling="cls")
    with pytest.raises(MisfitError, match="avg_last4 needs 4"):
        encoder.encode_each(["cls", "avg_last4"], SENTENCES)


def test_the_second_time_nothing_is_tokenised(folder, cache):
    first = load(folder).encode(SENTENCES, cache_tokens=True)
    again = load(folder)
    calls = []
    encode_batch = type(again.tokenizer)._encode_plus
    again.tokenizer._encode_plus = lambda *given, **named: (
        calls.append(1) or encode_batch(again.tokenizer, *given, **named)
    )
    np.testing.assert_array_equal(again.encode(SENTENCES, cache_tokens=True), first)
    assert calls == []
    again.encode([*SENTENCES, "new"], cache_tokens=True)
    assert calls == [1]
    assert len(list(cache.rglob("*.arrow"))) == 2


def test_kept_tokens_give_the_vectors_of_fresh_ones(folder):
    encoder = load(folder)
    np.testing.assert_array_equal(
        encoder.encode([LONG, *SENTENCES], cache_tokens=True), encoder.encode([LONG, *SENTENCES])
    )


def test_packed_linear_layers_compute_what_linear_layers_compute(folder):
    encoder = load(folder)
    rows = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(0))
    linear = next(part for part in encoder.modules() if isinstance(part, torch.nn.Linear))
    plain = torch.nn.functional.linear(rows, linear.weight, linear.bias)
    with torch.inference_mode(), packed_linear_layers(encoder):
        assert "forward" in vars(linear)
        torch.testing.assert_close(linear(rows), plain, atol=1e-5, rtol=1e-5)
    assert "forward" not in vars(linear)


def test_after_an_error_inside_the_layers_are_themselves_again(folder):
    encoder = load(folder)
    with pytest.raises(ZeroDivisionError), packed_linear_layers(encoder):
        raise ZeroDivisionError
    assert not any("forward" in vars(part) for part in encoder.modules())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_several_threads_give_what_one_gives_and_leave_the_number_of_threads(folder, precision):
    encoder = load(folder)
    many = SENTENCES * 20
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = encoder.encode(many, batch_tokens=40, precision=precision)
        torch.set_num_threads(3)
        together = encoder.encode(many, batch_tokens=40, precision=precision)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_an_error_in_a_thread_is_told_and_the_encoder_is_whole_again(folder):
    encoder = load(folder).train()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoder.transformer.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            encoder.encode(SENTENCES * 20, batch_tokens=40)
        assert torch.get_num_threads() == 2
        assert encoder.training
    finally:
        torch.set_num_threads(before)


def test_large_inputs_go_through_packed_layers_and_give_the_same(folder, monkeypatch):
    encoder = load(folder)
    plain = encoder.encode(SENTENCES)
    packed = []
    monkeypatch.setattr("model.encoding.PACKED_FROM_TOKENS", 1)
    monkeypatch.setattr(
        "model.encoding.packed_linear_layers", lambda module: packed.append(1) or packed_linear_layers(module)
    )
    np.testing.assert_allclose(encoder.encode(SENTENCES), plain, atol=1e-5)
    assert packed == [1]


def test_two_threads_may_encode_with_one_encoder(folder, monkeypatch):
    monkeypatch.setattr("model.encoding.PACKED_FROM_TOKENS", 1)
    encoder = load(folder)
    expected = encoder.encode(SENTENCES)
    with ThreadPoolExecutor(2) as pool:
        for rows in pool.map(encoder.encode, [SENTENCES] * 20):
            np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert not any("forward" in vars(part) for part in encoder.modules())


def test_a_layer_whose_forward_is_somebody_elses_keeps_it(folder):
    encoder = load(folder)
    linear = next(part for part in encoder.modules() if isinstance(part, torch.nn.Linear))
    theirs = linear.forward = lambda rows: rows
    with packed_linear_layers(encoder):
        assert linear.forward is theirs
    assert linear.forward is theirs
