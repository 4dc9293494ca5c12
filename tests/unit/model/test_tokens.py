import multiprocessing
import time

import pytest
from transformers import AutoTokenizer

from model.errors import InputError
from model.tokens import TokenisedSentences, tokenised_corpus
from tests.tiny import tiny_encoder_folder

SENTENCES = ["A man plays the guitar.", "no", "Children aren't playing in the snow today, are they?"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(tiny_encoder_folder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(SENTENCES) + "\n")
    return [str(tmp_path / "corpus.txt")]


@pytest.mark.parametrize("max_length", [6, 32])
def test_each_row_is_what_the_tokenizer_says_of_that_sentence_alone(paths, tokenizer, max_length):
    corpus = tokenised_corpus(paths, tokenizer, max_length)
    assert len(corpus) == 3
    for row, sentence in enumerate(SENTENCES):
        alone = tokenizer(sentence, truncation=True, max_length=max_length)
        assert corpus.ids(row).tolist() == alone["input_ids"]
        assert corpus.words(row).tolist() == [-1 if word is None else word for word in alone.word_ids()]


def test_tokens_of_one_word_share_its_index_and_special_tokens_have_none(paths, tokenizer):
    corpus = tokenised_corpus(paths, tokenizer, 32)
    words = corpus.words(0).tolist()
    assert words[0] == words[-1] == -1
    assert words[1:-1] == sorted(words[1:-1])
    assert set(words[1:-1]) == set(range(6))  # A man plays the guitar .


def test_a_second_call_reads_the_same_file_and_leaves_the_builder_alone(paths, tokenizer, cache):
    tokenised_corpus(paths, tokenizer, 32)
    (built,) = cache.rglob("*.arrow")
    before = built.stat()
    tokenizer(["longer"], padding=True, truncation=True, max_length=5)
    tokenised_corpus(paths, tokenizer, 32)
    assert list(cache.rglob("*.arrow")) == [built]
    assert (built.stat().st_ino, built.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_corpus_length_and_tokenizer_each_have_a_file_of_their_own(paths, tokenizer, cache, tmp_path):
    tokenised_corpus(paths, tokenizer, 32)
    tokenised_corpus(paths, tokenizer, 16)
    (tmp_path / "other.txt").write_text("another sentence\n")
    tokenised_corpus([str(tmp_path / "other.txt")], tokenizer, 32)
    cased = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    cased.add_tokens(["guitar."])
    tokenised_corpus(paths, cased, 32)
    assert len(list(cache.rglob("*.arrow"))) == 4


def test_two_processes_at_once_end_with_one_file_that_both_read(paths, tokenizer, cache):
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()

    def build():
        corpus = tokenised_corpus(paths, tokenizer, 32)
        answers.put([corpus.ids(row).tolist() for row in range(len(corpus))])

    processes = [fork.Process(target=build) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = answers.get(timeout=20), answers.get(timeout=20)
    for process in processes:
        process.join()
    assert first == second == [tokenizer(sentence)["input_ids"] for sentence in SENTENCES]
    assert len(list(cache.rglob("*.arrow"))) == 1
    assert not list(cache.rglob("*.part"))


def test_a_damaged_file_is_named_with_the_way_out(paths, tokenizer, cache):
    tokenised_corpus(paths, tokenizer, 32)
    (built,) = cache.rglob("*.arrow")
    built.write_bytes(built.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"rm '{built}'"):
        TokenisedSentences(built)


def test_a_row_is_read_in_microseconds(tmp_path, tokenizer):
    (tmp_path / "many.txt").write_text("".join(f"sentence number {n} of many\n" for n in range(5000)))
    corpus = tokenised_corpus([str(tmp_path / "many.txt")], tokenizer, 32)
    started = time.perf_counter()
    for row in range(5000):
        corpus.ids(row)
    assert time.perf_counter() - started < 0.25
