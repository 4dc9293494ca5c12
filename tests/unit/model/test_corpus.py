import subprocess

import pytest

from model.corpus import corpus_identity, count_corpus, find_corpus_faults, read_corpus
from model.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def test_blank_lines_and_repeats_are_dropped_and_the_order_is_kept(write):
    first = write("a.txt", b"one\n\n two \r\none\n   \n")
    second = write("b.txt", b"three\ntwo\nOne\n")
    assert read_corpus([first, second]) == ["one", "two", "three", "One"]


def test_the_count_is_that_of_the_sentences(write):
    paths = [write("a.txt", b"\xef\xbb\xbfone\n\n two \r\none\n"), write("b.txt", "x\u2028y\n\x1c\ntwo\n".encode())]
    assert count_corpus(paths) == (len(read_corpus(paths)), []) == (3, [])


def test_a_sentence_ends_only_at_a_line_feed(write):
    text = "a\u2028b\u0085c\x0cd\n"
    assert read_corpus([write("a.txt", text.encode())]) == ["a\u2028b\u0085c\x0cd"]


def test_a_byte_order_mark_is_not_part_of_the_first_sentence(write):
    assert read_corpus([write("a.txt", b"\xef\xbb\xbfone\ntwo\n")]) == ["one", "two"]


def test_all_faults_of_all_files_are_in_one_error(write, tmp_path):
    paths = [
        write("empty.txt", b""),
        write("blank.txt", b"\n \n"),
        write("good.txt", b"fine\n"),
        write("latin.txt", "ein\nKäse\n".encode("latin-1")),
        str(tmp_path / "gone.txt"),
        str(tmp_path),
    ]
    with pytest.raises(InputError) as caught:
        read_corpus(paths)
    message = str(caught.value)
    assert all(path in message for path in paths if "good" not in path)
    assert "good.txt: " not in message
    assert message.count("\n") == len(find_corpus_faults(paths)) == 5
    assert count_corpus(paths) == (1, find_corpus_faults(paths))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_bytes_that_are_not_utf8_are_named_by_line_and_offset(write, mark):
    (fault,) = find_corpus_faults([write("latin.txt", mark + b"ab\nc\xe4d\n")])
    assert f"line 2, byte {len(mark) + 4}" in fault
    assert "0xe4" in fault


def test_a_file_cut_inside_a_character_is_called_cut(write):
    content = "ab\nKä".encode()[:-1]
    (fault,) = find_corpus_faults([write("cut.txt", content)])
    assert "cut short" in fault
    assert "line 2, byte 4" in fault


def test_a_last_line_without_line_end_is_refused_and_the_named_repair_works(write):
    path = write("cut.txt", b"one\ntwo")
    (fault,) = find_corpus_faults([path])
    assert "line 2" in fault
    subprocess.run(fault[fault.index("echo >>") :], shell=True, check=True)
    assert read_corpus([path]) == ["one", "two"]


def test_the_named_conversion_of_a_utf16_file_works(write, tmp_path):
    (fault,) = find_corpus_faults([write("wide.txt", "one\ntwo\n".encode("utf-16"))])
    subprocess.run(fault[fault.index("iconv") :], shell=True, check=True, cwd=tmp_path)
    assert read_corpus([str(tmp_path / "corpus.txt")]) == ["one", "two"]


def test_a_file_with_nul_bytes_is_no_text(write):
    (fault,) = find_corpus_faults([write("wide.txt", "one\n".encode("utf-16-le"))])
    assert "line 1, byte 1: NUL" in fault


def test_a_missing_file_is_met_with_the_nearest_name(write, tmp_path):
    write("sentences.txt", b"one\n")
    (fault,) = find_corpus_faults([str(tmp_path / "sentence.txt")])
    assert f"did you mean {tmp_path / 'sentences.txt'}?" in fault
    assert "did you mean demo?" in find_corpus_faults(["dmeo"])[0]


def test_the_identity_follows_the_contents_and_not_the_names(write):
    one, two, same = write("1.txt", b"a\n"), write("2.txt", b"b\n"), write("3.txt", b"a\n")
    joined = write("4.txt", b"a\nb\n")
    assert corpus_identity([one]) == corpus_identity([same])
    assert len({corpus_identity(paths) for paths in ([one], [two], [one, two], [two, one], [joined])}) == 5


def test_the_identity_of_unusable_files_is_refused_with_all_faults(write):
    with pytest.raises(InputError, match=r"(?s)gone.*empty"):
        corpus_identity(["gone", write("empty.txt", b"")])
