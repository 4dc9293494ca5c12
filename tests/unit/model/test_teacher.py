import numpy as np
import pytest

from model.config import EncoderConfig, TrainConfig
from model.encoder import load_encoder
from model.errors import InputError
from model.teacher import teacher_embeddings
from tests.tiny import tiny_encoder_folder

SENTENCES = [f"the man number {n} " + "plays the guitar " * n for n in range(9)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(sentence.strip() for sentence in SENTENCES) + "\n")
    return TrainConfig.from_flat(
        {
            "data.corpus": str(tmp_path / "corpus.txt"),
            "teacher.name": str(tiny_encoder_folder(tmp_path / "teacher", layers=2, width=32)),
            "teacher.pooling": "cls",
            "encoder.max_length": 8,
        }
    )


def test_a_row_is_the_teachers_embedding_of_the_whole_sentence(config):
    embeddings = teacher_embeddings(config, threads=1)
    teacher = load_encoder(EncoderConfig(name=config.teacher.name, pooling="cls"))
    alone = np.concatenate([teacher.encode([sentence.strip()]) for sentence in SENTENCES])
    np.testing.assert_allclose(embeddings, alone, atol=1e-5)
    assert embeddings.dtype == np.float32


def test_embeddings_are_computed_once_and_mapped_read_only(config, cache):
    teacher_embeddings(config, threads=1)
    (built,) = cache.rglob("*.npy")
    before = built.stat().st_mtime_ns
    again = teacher_embeddings(config, threads=1)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert built.stat().st_mtime_ns == before


def test_another_pooling_or_teacher_is_another_file(config, cache, tmp_path):
    other = str(tiny_encoder_folder(tmp_path / "other", layers=2, width=32, seed=1))
    for knobs in ({}, {"teacher.pooling": "avg_last_hidden"}, {"teacher.name": other}):
        teacher_embeddings(config.replace(knobs), threads=1)
    assert len(list(cache.rglob("*.npy"))) == 3


def test_a_damaged_file_is_named_with_the_way_out(config, cache):
    teacher_embeddings(config, threads=1)
    (built,) = cache.rglob("*.npy")
    built.write_bytes(built.read_bytes()[:-4])
    with pytest.raises(InputError, match=f"rm '{built}'"):
        teacher_embeddings(config, threads=1)


def test_no_teacher_is_an_input_error():
    with pytest.raises(InputError, match=r"teacher\.name"):
        teacher_embeddings(TrainConfig(), threads=1)
