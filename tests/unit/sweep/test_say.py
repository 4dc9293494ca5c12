"""A reader that has gone changes neither the exit code nor what comes after."""

import subprocess
import sys

import pytest

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
