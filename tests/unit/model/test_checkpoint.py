import json

import pytest
import torch

from model.checkpoint import DamagedError, load_checkpoint, save_checkpoint, tidy_checkpoint
from model.errors import InputError

FILES = ["weights.safetensors", "state.pt", "manifest.json"]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "trial" / "checkpoint"
    save_checkpoint(folder, {"w": torch.arange(6.0).reshape(2, 3)}, {"step": 3, "rng": torch.get_rng_state()})
    return folder


def test_what_was_saved_is_loaded(folder):
    weights, state = load_checkpoint(folder)
    assert torch.equal(weights["w"], torch.tensor([[0.0, 1, 2], [3, 4, 5]]))
    assert state["step"] == 3
    assert torch.equal(state["rng"], torch.get_rng_state())


def test_only_the_checkpoint_lies_in_its_parent(folder):
    save_checkpoint(folder, {"w": torch.zeros(1)}, {"step": 4})
    assert [entry.name for entry in folder.parent.iterdir()] == ["checkpoint"]
    assert load_checkpoint(folder)[1] == {"step": 4}


def test_what_a_killed_save_left_behind_is_removed_by_the_next(folder):
    leftover = folder.with_name(".checkpoint.part")
    leftover.mkdir()
    (leftover / "weights.safetensors").write_bytes(b"half")
    save_checkpoint(folder, {"w": torch.zeros(1)}, {"step": 4})
    assert [entry.name for entry in folder.parent.iterdir()] == ["checkpoint"]


def test_a_save_that_was_killed_between_its_renames_leaves_the_checkpoint_before_it(folder):
    folder.rename(folder.with_name(".checkpoint.old"))
    folder.with_name(".checkpoint.part").mkdir()
    tidy_checkpoint(folder)
    assert [entry.name for entry in folder.parent.iterdir()] == ["checkpoint"]
    assert load_checkpoint(folder)[1]["step"] == 3


def test_a_replaced_checkpoint_whose_removal_was_cut_short_is_removed(folder):
    folder.with_name(".checkpoint.old").mkdir()
    tidy_checkpoint(folder)
    assert [entry.name for entry in folder.parent.iterdir()] == ["checkpoint"]
    assert load_checkpoint(folder)[1]["step"] == 3


def test_a_save_that_fails_leaves_the_checkpoint_before_it_and_nothing_else(folder):
    """A function cannot be pickled; a full disk would end at the same place."""
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(folder, {"w": torch.zeros(1)}, {"step": lambda: 4})
    assert [entry.name for entry in folder.parent.iterdir()] == ["checkpoint"]
    assert load_checkpoint(folder)[1]["step"] == 3


@pytest.mark.parametrize("other", [1, 2])
def test_another_format_is_refused_with_both(folder, other):
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": other}))
    with pytest.raises(DamagedError, match=rf"format {other}; this version of stsweep reads \d"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_bit_anywhere_is_named(folder, name, place):
    content = bytearray((folder / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        load_checkpoint(folder)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_checkpoint(tmp_path)
