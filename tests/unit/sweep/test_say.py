"""A reader that has gone changes neither the exit code nor what comes after."""

import subprocess
import sys

import pytest

from sweep.driver import passed_on
from sweep.passwords import without_passwords
from sweep.say import say

CODE = """
import sys
from sweep.say import say
stream = getattr(sys, sys.argv[1])
sys.stdin.readline()
for _ in range(3):
    say("a line " * 10_000, stream)
sys.exit(7)
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_pipe_is_no_fault(stream):
    pipes = {stream: subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CODE, stream], stdin=subprocess.PIPE, **pipes) as process:
        getattr(process, stream).close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.wait(timeout=30) == 7


def test_a_line_is_said():
    said = subprocess.run(
        [sys.executable, "-c", "from sweep.say import say; say('one'); say('two')"], capture_output=True, text=True
    )
    assert said.stdout == "one\ntwo\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MLflow at http://me:pw@host:5000/x gets nothing", "MLflow at http://host:5000/x gets nothing"),
        ("postgresql+psycopg2://me:p@w@host/db?sslmode=on", "postgresql+psycopg2://host/db?sslmode=on"),
        ("mysql://host/db?password=pw&ssl=1 at once", "mysql://host/db?ssl=1 at once"),
        ("http://token@host, s3://bucket/a@b, sqlite:////home/a@b/c.db", None),
        ('["http://host","a@b","http://h/?token=pw"]', '["http://host","a@b","http://h/?"]'),
        ("stsweep resume me@home --address head:6379", None),
    ],
)
def test_no_password_is_said(text, said, capsys):
    expected = text.replace("token@", "") if said is None else said
    assert without_passwords(text) == expected
    say(text)
    assert capsys.readouterr().out == f"{expected}\n"


def test_what_holds_a_password_is_not_given_to_the_nodes_which_log_it(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret-word@proxy:3128")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    passed, kept = passed_on()
    assert passed["https_proxy"] == "http://proxy:3128"
    assert kept == ["HTTPS_PROXY"]
    assert "secret-word" not in repr(passed)
