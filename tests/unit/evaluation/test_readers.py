import pytest

from evaluation.errors import InputError
from evaluation.readers import SHOWN, Faults, InputAndGold, Row, Table, read_lines

PLAIN = Table("pairs.tsv", gold=0, first=1, second=2, columns=3, subset="plain")


def read(folder, part=PLAIN):
    faults = Faults()
    return part.read(folder, faults), faults.found


def semeval(folder, inputs, golds):
    (folder / "STS.input.A.txt").write_bytes(inputs)
    (folder / "STS.gs.A.txt").write_bytes(golds)
    return read(folder, InputAndGold("", "A"))


def test_quotes_are_ordinary_characters(tmp_path):
    (tmp_path / "pairs.tsv").write_text('1\t"he said\tit " is\n2\t"a"\tb\n')
    rows, faults = read(tmp_path)
    assert rows == [Row('"he said', 'it " is', 1.0, "plain"), Row('"a"', "b", 2.0, "plain")]
    assert not faults


def test_byte_order_mark_and_carriage_returns_are_no_part_of_a_cell(tmp_path):
    (tmp_path / "pairs.tsv").write_bytes(b"\xef\xbb\xbf1\ta\tb\r\n2\tc\td\r\n")
    assert read(tmp_path)[0] == [Row("a", "b", 1.0, "plain"), Row("c", "d", 2.0, "plain")]


def test_unicode_line_breaks_inside_a_sentence_do_not_end_the_line(tmp_path):
    (tmp_path / "pairs.tsv").write_text("1\tone\u0085two\tthree\u2028four\n", encoding="utf-8")
    assert read(tmp_path) == ([Row("one two", "three four", 1.0, "plain")], [])


def test_runs_of_white_space_become_one_space(tmp_path):
    (tmp_path / "pairs.tsv").write_text("1\t  a   b \u00a0 c\td\n", encoding="utf-8")
    assert read(tmp_path)[0] == [Row("a b c", "d", 1.0, "plain")]


def test_every_bad_line_is_told_with_file_and_line(tmp_path):
    (tmp_path / "pairs.tsv").write_text("1\ta\n2\ta\tb\tc\nx\ta\tb\n5.5\ta\tb\nnan\ta\tb\n3\t \tb\n4\ta\tb\n")
    rows, faults = read(tmp_path)
    assert rows == [Row("a", "b", 4.0, "plain")]
    path = tmp_path / "pairs.tsv"
    assert faults == [
        f"{path}:1: 2 tab-separated column(s) where 3 are needed",
        f"{path}:2: 4 tab-separated column(s) where 3 are needed",
        f"{path}:3: gold 'x' is not a number; allowed is 0 to 5",
        f"{path}:4: gold 5.5 is out of range; allowed is 0 to 5",
        f"{path}:5: gold nan is out of range; allowed is 0 to 5",
        f"{path}:6: a sentence is empty",
    ]


def test_a_header_is_skipped_and_more_columns_pass_where_they_are_declared(tmp_path):
    (tmp_path / "pairs.tsv").write_text("score\tgenre\ta\tb\n3\tnews\tx\ty\thttp://source\n")
    table = Table("pairs.tsv", gold=0, first=2, second=3, columns=4, more_columns=True, header=True, subset=1)
    assert read(tmp_path, table) == ([Row("x", "y", 3.0, "news")], [])


def test_a_blank_gold_leaves_its_pair_out_and_shifts_no_other(tmp_path):
    rows, faults = semeval(tmp_path, b"a\tb\nc\td\ne\tf\ng\th\n", b"\n4.2\n \r\n0\n")
    assert rows == [Row("c", "d", 4.2, "A"), Row("g", "h", 0.0, "A")]
    assert not faults


def test_a_last_line_without_a_line_end_counts(tmp_path):
    assert [row.first for row in semeval(tmp_path, b"a\tb\nc\td", b"1\n2")[0]] == ["a", "c"]


def test_gold_and_input_of_different_length_are_refused_as_a_whole(tmp_path):
    rows, (fault,) = semeval(tmp_path, b"a\tb\nc\td\n", b"1\n2\n3\n")
    assert rows == []
    assert fault.startswith(f"{tmp_path / 'STS.gs.A.txt'}: 3 lines, but STS.input.A.txt has 2")


def test_a_bad_input_line_is_told_only_where_it_is_scored(tmp_path):
    rows, faults = semeval(tmp_path, b"no tab\nno tab\na\tb\tc\n\t\nd\te\n", b"\n1\n2\n3\nx\n")
    assert rows == []
    path, gold_path = tmp_path / "STS.input.A.txt", tmp_path / "STS.gs.A.txt"
    assert faults == [
        f"{path}:2: 1 tab-separated column(s) where 2 are needed",
        f"{path}:3: 3 tab-separated column(s) where 2 are needed",
        f"{path}:4: a sentence is empty",
        f"{gold_path}:5: gold 'x' is not a number; allowed is 0 to 5",
    ]


def test_both_missing_files_of_a_subset_are_told(tmp_path):
    rows, faults = read(tmp_path, InputAndGold("", "A"))
    assert rows == []
    assert [fault.split("/")[-1] for fault in faults] == [
        "STS.input.A.txt: no such file",
        "STS.gs.A.txt: no such file",
    ]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_that_is_not_utf8_is_told_with_line_and_offset_in_the_file(tmp_path, mark):
    path = tmp_path / "latin.txt"
    path.write_bytes(mark + b"plain\ncaf\xe9 au lait\n")
    faults = Faults()
    assert read_lines(path, faults) is None
    assert faults.found == [f"{path}:2: not UTF-8: byte 0xe9 at byte offset {9 + len(mark)} of the file"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"])
def test_a_file_without_content_is_told(tmp_path, content):
    (tmp_path / "pairs.tsv").write_bytes(content)
    assert read(tmp_path) == ([], [f"{tmp_path / 'pairs.tsv'}: the file is empty"])


def test_a_folder_in_place_of_a_file_is_told(tmp_path):
    (tmp_path / "pairs.tsv").mkdir()
    assert "cannot be read" in read(tmp_path)[1][0]


def test_a_flood_of_faults_is_cut_and_counted(tmp_path):
    faults = Faults()
    for line in range(SHOWN + 7):
        faults.add(tmp_path, line, "bad")
    with pytest.raises(InputError, match="… and 7 more") as caught:
        faults.raise_any("heading", "advice")
    assert str(caught.value).count("bad") == SHOWN
