"""The command line: `stsweep` and `python -m sweep`. Results go to stdout, progress to stderr.

Commands are thin: they parse, call one function, and print. Imports of weight stay inside them, so that `--help` and
`check` answer without torch, Ray or MLflow.
"""

from __future__ import annotations

import shlex
import signal
import sys

import typer

from sweep.cli import checkup, driving, jobs, scoring, simulating, sweeps  # noqa: F401  (they register their commands)
from sweep.cli.app import app
from sweep.errors import Exit, Problem, Refused, Unreachable
from sweep.files import disk_fault
from sweep.say import say


def main() -> None:
    """Run a command; a refusal is one message on stderr and its exit code, never a traceback without `--debug`."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app(arguments or ["--help"], prog_name="stsweep", standalone_mode=False)
    except typer.Abort:
        code = Exit.INTERRUPTED
    except Exception as error:
        if debug:
            raise
        refused = _as_refusal(error)
        if refused is None:
            raise
        say(f"stsweep: {refused}", sys.stderr)
        code = refused.exit_code
    if code in (Exit.INTERRUPTED, Exit.TERMINATED):  # whoever still presses Ctrl-C would change the exit code
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code or 0)


def _as_refusal(error: Exception) -> Refused | None:
    """What a known fault of the input tells the person; None for a fault of ours, which keeps its traceback."""
    from evaluation.errors import InputError as TaskError
    from model.errors import DivergedError, InputError, UnreachableError

    cause = getattr(error, "cause", None)  # Ray wraps what a worker raised
    if isinstance(cause, Exception) and not isinstance(error, Refused):
        error = cause
    if isinstance(error, Refused):
        return error
    command = shlex.join(["stsweep", *sys.argv[1:]])
    again = f"correct it, then: {command}"
    if isinstance(error, UnreachableError):
        return Unreachable([Problem(str(error))], next=again)
    if isinstance(error, InputError | TaskError | DivergedError):
        return Refused([Problem(str(error))], next=again)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:  # a full disk, a file as a folder
        return Refused([Problem(error.strerror, str(error.filename))], next=again)
    if why := disk_fault(error):
        return Refused([Problem(why)], next=f"make room, then: {command}")
    if hasattr(error, "format_message"):  # the command line itself
        context = getattr(error, "ctx", None)
        return Refused(
            [Problem(error.format_message())], next=f"{context.command_path if context else 'stsweep'} --help"
        )
    return None
