"""What a YAML file means, and which files are refused with which line."""

from pathlib import Path
from typing import Any

import pytest

from sweep.errors import Refused
from sweep.spec.yaml_file import dump, read_yaml, scalar


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "sweep.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 0.00001),
        ("25_600", 25600),
        ("010", 10),
        ("0x10", 16),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("2001-01-01", "2001-01-01"),
        ("1:30", "1:30"),
        ("0,5", "0,5"),
        ("=", "="),
    ],
)
def test_scalars_are_yaml_1_2_in_files_and_overrides(tmp_path: Path, text: str, value: Any) -> None:
    in_file = read_yaml(write(tmp_path, f"key: {text}\n")).data["key"]
    assert (in_file, type(in_file)) == (value, type(value))
    assert (scalar(text), type(scalar(text))) == (value, type(value))


def test_every_key_and_item_has_its_line(tmp_path: Path) -> None:
    document = read_yaml(write(tmp_path, "a: 1\n# remark\nb:\n  c: [1,\n      2]\n"))
    assert document.data == {"a": 1, "b": {"c": [1, 2]}}
    lines = {("a",): 1, ("b",): 3, ("b", "c"): 4, ("b", "c", 0): 4, ("b", "c", 1): 5}
    assert lines.items() <= dict(document.lines).items()


def test_all_mistakes_that_leave_the_file_readable_are_told_with_their_lines(tmp_path: Path) -> None:
    text = "a: 1\nb: !!str 2\na: 3\nc: !foo 4\nd:\n  <<: {x: 1}\n  y: 2\n7: seven\n? [1]\n: x\n"
    document = read_yaml(write(tmp_path, text))
    told = {problem.line: problem.message for problem in document.problems}
    assert set(told) == {2, 3, 4, 6, 8, 9}
    assert "!!str" in told[2] and "!foo" in told[4] and "merge" in told[6]
    assert "twice" in told[3] and "line 1" in told[3]
    assert document.data == {"a": 1, "d": {"y": 2}}
    assert document.left_out == {("b",), ("c",)}


def test_python_objects_are_refused_and_not_built(tmp_path: Path) -> None:
    marker = tmp_path / "made"
    document = read_yaml(write(tmp_path, f'a: !!python/object/apply:os.mkdir ["{marker}"]\n'))
    assert "python/object" in document.problems[0].message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", 1, "empty"),
        ("# only a remark\n", 1, "empty"),
        ("- a\n- b\n", 1, "not a mapping"),
        ("a: 1\nb:\n\tc: 2\n", 3, "tab"),
        ("a: 1\nb: [1, 2\n", 3, "not YAML"),
        ("a: 1\nb: c: d\n", 2, "not YAML"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        ("a: 1\nb: \x07\n", 2, "control character"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("%YAML 1.1\n---\na: no\n", 2, "directive"),
        ("a: &x [1]\nb: *x\n", 2, "alias"),
        ("a: *missing\n", 1, "alias"),
        ("a: " + "[" * 5000 + "]" * 5000, 1, "nested"),
        ("a: " + "x" * 300_000, None, "300003 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, line: int | None, words: str
) -> None:
    with pytest.raises(Refused) as refused:
        read_yaml(write(tmp_path, content))
    assert words in str(refused.value)
    if line is not None:
        assert f"sweep.yaml:{line}: " in str(refused.value)


def test_every_line_with_a_tab_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        read_yaml(write(tmp_path, "a:\n\tb: 1\nc:\n\td: 1\n"))
    assert [problem.line for problem in refused.value.problems] == [2, 4]


def test_an_alias_of_a_number_is_its_value(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path, "a: &x 3\nb: *x\n")).data == {"a": 3, "b": 3}


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "a: 1\n")
    with pytest.raises(Refused, match=r"did you mean .*sweep\.yaml\?"):
        read_yaml(tmp_path / "swep.yaml")
    with pytest.raises(Refused, match="a folder"):
        read_yaml(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    document = read_yaml(write(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: x\r\n"))
    assert document.data == {"a": 1, "b": "x"}
    assert document.problems == ()


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    data = {
        "z": 1e-05,
        "a": ["no", "010", "1e-5", "", "a: b", None, True, "x" * 300],
        "m": {"k": 1e22, "t": "2001-01-01"},
    }
    text = dump(data)
    assert read_yaml(write(tmp_path, text)).data == data
    assert list(read_yaml(write(tmp_path, text)).data) == ["z", "a", "m"]
