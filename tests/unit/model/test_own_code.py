"""What a model's folder brings is not run, unless the caller says so; pickles are never read."""

import json
import pickle

import pytest

from model import EncoderConfig, InputError, TrainConfig, load_encoder, save_encoder, saved_config, train
from model.bench import load_as, save_as
from model.source import find_fault, identity
from tests.tiny import own_code_folder, pickled_folder, tiny_encoder_folder

SENTENCES = ["a dog runs", "two people eat an apple"]


def test_code_of_a_folder_is_not_run_without_trust(tmp_path):
    folder = own_code_folder(tmp_path / "own", tmp_path / "mark")
    with pytest.raises(InputError, match=f"{folder}.*--trust-remote-code"):
        load_encoder(EncoderConfig(name=str(folder)))
    assert "--trust-remote-code" in (find_fault(str(folder)) or "")
    assert not (tmp_path / "mark").exists()


def test_trusted_code_is_run_and_gives_the_vectors_of_the_architecture_it_copies(tmp_path):
    folder = own_code_folder(tmp_path / "own", tmp_path / "mark")
    assert find_fault(str(folder), trust_remote_code=True) is None
    own = load_encoder(EncoderConfig(name=str(folder)), trust_remote_code=True)
    assert "modeling_own" in (tmp_path / "mark").read_text()
    assert type(own.transformer).__name__ == "OwnModel"
    plain = load_encoder(EncoderConfig(name=str(tiny_encoder_folder(tmp_path / "plain"))))
    assert own.encode(SENTENCES) == pytest.approx(plain.encode(SENTENCES))


def test_a_saved_encoder_keeps_its_code_and_asks_for_trust_again(tmp_path):
    folder = own_code_folder(tmp_path / "own", tmp_path / "mark")
    encoder = load_encoder(EncoderConfig(name=str(folder)), trust_remote_code=True)
    save_encoder(encoder, tmp_path / "saved")
    with pytest.raises(InputError, match="--trust-remote-code"):
        load_encoder(saved_config(tmp_path / "saved"))
    again = load_encoder(saved_config(tmp_path / "saved"), trust_remote_code=True)
    assert again.encode(SENTENCES) == pytest.approx(encoder.encode(SENTENCES))


def test_training_and_bench_run_code_only_when_trusted(tmp_path):
    folder = own_code_folder(tmp_path / "own", tmp_path / "mark")
    (tmp_path / "corpus.txt").write_text("".join(f"sentence number {n}\n" for n in range(8)))
    knobs = {"encoder.name": str(folder), "data.corpus": str(tmp_path / "corpus.txt"), "budget.sentences": 8}
    config = TrainConfig.from_flat(knobs | {"optim.batch_size": 4, "precision": "fp32"})
    with pytest.raises(InputError, match="--trust-remote-code"):
        next(train(config))
    assert not (tmp_path / "mark").exists()
    assert next(train(config, trust_remote_code=True, threads=1)).is_end
    save_as(load_encoder(config.encoder, trust_remote_code=True), "bf16", tmp_path / "bf16")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_as(tmp_path / "bf16", "bf16", threads=1)
    load_as(tmp_path / "bf16", "bf16", threads=1, trust_remote_code=True).encode(SENTENCES)


def test_code_beside_a_known_architecture_is_not_asked_for(tmp_path):
    folder = own_code_folder(tmp_path / "own", tmp_path / "mark")
    settings = json.loads((folder / "config.json").read_text()) | {"model_type": "distilbert"}
    (folder / "config.json").write_text(json.dumps(settings))
    load_encoder(EncoderConfig(name=str(folder)))
    assert not (tmp_path / "mark").exists(), "transformers has the architecture itself"


def test_code_of_a_tokenizer_is_not_run_without_trust(tmp_path):
    folder = tiny_encoder_folder(tmp_path / "own")
    (folder / "tokenization_own.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "tokenization_own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    load_encoder(EncoderConfig(name=str(folder)))
    assert not (tmp_path / "mark").exists()


def test_other_code_is_another_encoder_to_the_caches(tmp_path):
    folder = own_code_folder(tmp_path / "own", tmp_path / "mark")
    before = identity(str(folder))
    with (folder / "modeling_own.py").open("a") as code:
        code.write("# changed\n")
    assert identity(str(folder)) != before


@pytest.mark.parametrize("trust", [False, True])
def test_pickled_weights_are_refused_and_never_read(tmp_path, trust):
    folder = pickled_folder(tmp_path / "pickled", tmp_path / "mark")
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load_encoder(EncoderConfig(name=str(folder)), trust_remote_code=trust)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_under_the_name_of_a_shard_is_refused_and_never_read(tmp_path):
    folder = pickled_folder(tmp_path / "pickled", tmp_path / "mark")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"pytorch_model\.bin"):
        load_encoder(EncoderConfig(name=str(folder)))
    assert not (tmp_path / "mark").exists()


def test_the_trap_of_these_tests_is_one(tmp_path):
    import torch

    folder = pickled_folder(tmp_path / "pickled", tmp_path / "mark")
    with pytest.raises((AttributeError, TypeError, pickle.UnpicklingError)):
        torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert not (tmp_path / "mark").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "mark").exists()
