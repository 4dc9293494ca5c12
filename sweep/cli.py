"""The command line: `stsweep` and `python -m sweep`. Results go to stdout, progress to stderr.

Commands are thin: they parse, call one function, and print. Imports of weight stay inside them, so that `--help` and
`check` answer without torch, Ray or MLflow.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.errors import Exit, Problem, Refused, Unreachable, nearest
from sweep.root import DEFAULT_ROOT, ROOT_VARIABLE

if TYPE_CHECKING:
    from sweep.record import Record
    from sweep.spec.sweep_spec import SweepSpec

app = typer.Typer(
    name="stsweep",
    help="Hyperparameter sweeps for sentence encoders trained without labels: Ray Tune, Optuna, ASHA, MLflow.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A YAML file, or the name of a shipped search space.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The sweep's name; `stsweep ls` lists them.")]
Root = Annotated[Path, typer.Option(envvar=ROOT_VARIABLE, help="Where sweeps are kept, one folder each.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a knob or a key of the spec.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of STS data in the SentEval layout; default: the spec's, then STSWEEP_DATA.")
]
Address = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster; default: this machine.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
        print(f"stsweep: {refused}", file=sys.stderr)
        code = refused.exit_code
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
    again = f"correct it, then: {shlex.join(['stsweep', *sys.argv[1:]])}"
    if isinstance(error, UnreachableError):
        return Unreachable([Problem(str(error))], next=again)
    if isinstance(error, InputError | TaskError | DivergedError):
        return Refused([Problem(str(error))], next=again)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:  # a full disk, a file as a folder
        return Refused([Problem(error.strerror, str(error.filename))], next=again)
    if hasattr(error, "format_message"):  # the command line itself
        context = getattr(error, "ctx", None)
        return Refused(
            [Problem(error.format_message())], next=f"{context.command_path if context else 'stsweep'} --help"
        )
    return None


@app.command()
def check(
    spec: Spec,
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Say what a sweep would do, and every mistake, before anything starts."""
    from sweep.show import plan_json, plan_text
    from sweep.spec.check import check as check_spec
    from sweep.spec.origin import told_where

    path = _path(spec)
    with told_where(spec, path, changes):
        plan = check_spec(_load(path, changes, data_dir), address=address)
    print(json.dumps(plan_json(plan), indent=2) if as_json else plan_text(plan))


@app.command()
def run(
    spec: Spec,
    name: Annotated[str | None, typer.Option(help="Name of the sweep; default: the spec's.")] = None,
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    root: Root = DEFAULT_ROOT,
    address: Address = None,
) -> None:
    """Run a sweep to its end: Ctrl-C stops it, what has ended is kept."""
    from sweep.run import run as run_sweep
    from sweep.spec.origin import told_where

    path = _path(spec)
    with told_where(spec, path, changes):
        code = run_sweep(_load(path, changes, data_dir), root=root, name=name, address=address, command=_command())
    raise typer.Exit(code)


@app.command(name="ls")
def list_sweeps(root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """List the sweeps of a root."""
    from sweep.show import sweeps_json, sweeps_text

    print(json.dumps(sweeps_json(root), indent=2) if as_json else sweeps_text(root))


@app.command()
def status(name: Name, root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """Show every trial of a sweep and how far it is."""
    from sweep.show import status_json, status_text

    record = _record(root, name)
    print(json.dumps(status_json(record), indent=2) if as_json else status_text(record))


@app.command()
def best(name: Name, root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """Show the best trial: the highest score among those that reached the top rung."""
    from sweep.show import best_json, best_text

    record = _record(root, name)
    print(json.dumps(best_json(record), indent=2) if as_json else best_text(record))


@app.command()
def compare(
    name: Name,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show all trials side by side, with the knobs that were searched."""
    from sweep.frame import trials_frame

    record = _record(root, name)
    frame = trials_frame(record)
    if as_json:
        print(frame.reset_index().to_json(orient="records", indent=2))
    elif as_csv:
        print(frame.to_csv(), end="")
    elif not len(frame):
        print(f"no trials in {name} yet\nNext: stsweep status {record.argument}")
    else:
        print(frame.to_string(na_rep="", float_format=lambda value: f"{value:.4g}"))


@app.command()
def train(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Folder for the encoder and its checkpoint; must not exist.")],
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
) -> None:
    """Train one configuration, a spec's `train` with --set, in this process and without Ray."""
    from sweep.spec.origin import told_where
    from sweep.train_one import train_one

    path = _path(spec)
    with told_where(spec, path, changes):
        code = train_one(_load(path, changes, data_dir), out=out, resume=resume)
    raise typer.Exit(code)


@app.command(name="eval")
def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Hub id, folder, package:NAME, or `lexical`.")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="A sweep: its winner, untrained encoder, teacher and lexical floor.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated: sts12 … sts16, stsb, sickr, demo.")] = None,
    split: Annotated[
        str, typer.Option(help="dev, test or train; the test split of a task that has no other.")
    ] = "test",
    changes: Set = [],  # noqa: B006
    corpus: Annotated[str | None, typer.Option(help="Files that the lexical floor is fitted on.")] = None,
    word_counts: Annotated[Path | None, typer.Option(help="`word count` lines for the lexical floor.")] = None,
    data_dir: DataDir = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Score encoders on STS tasks: Spearman × 100 over all pairs of a task, nothing cut."""
    from sweep.scores import evaluate as evaluate_models

    table = evaluate_models(
        models or [],
        record=_record(root, sweep) if sweep else None,
        tasks=tasks,
        split=split,
        changes=changes,
        corpus=corpus,
        word_counts=word_counts,
        data_dir=data_dir,
        root=root,
    )
    print(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())


@app.command()
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="Number of a completed trial; default: the best.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make; default: ROOT/NAME/export.")] = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Write the best encoder as a folder for SentenceTransformer(path), with its re-runnable configuration."""
    from sweep.export.folder import export as export_trial

    record = _record(root, name)
    exported = export_trial(record, trial, out or record.folder / "export")
    print(json.dumps(exported.to_json(), indent=2) if as_json else exported.to_text())


@app.command()
def ui(
    name: Name,
    root: Root = DEFAULT_ROOT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.")] = 5000,
) -> None:
    """Serve MLflow on this machine and print the link to the page that compares all trials of the sweep."""
    from sweep.tracking.ui import serve_until_interrupted

    serve_until_interrupted(_record(root, name), host, port)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    from sweep.spec.sweep_spec import json_schema

    print(json.dumps(json_schema(), indent=2))


def _path(spec: str) -> Path:
    """The file of that name, or of a shipped search space when there is none."""
    import search_spaces

    shipped = search_spaces.names()
    if os.path.lexists(spec) or not (spec in shipped or nearest(spec, shipped)):
        return Path(spec)
    if spec not in shipped:
        message = f"no such file, and no shipped search space{nearest(spec, shipped)}; shipped: {', '.join(shipped)}"
        raise Refused([Problem(message, spec)], next="stsweep check SPEC, of a file or of one of these")
    return search_spaces.folder() / f"{spec}.yaml"


def _load(path: Path, changes: list[str], data_dir: Path | None) -> SweepSpec:
    """The spec of a file; `--data-dir` fills `data_dir`."""
    from sweep.spec.sweep_spec import load_spec

    given = any(change.startswith("data_dir=") for change in changes)
    extra = [f"data_dir={data_dir}"] if data_dir is not None and not given else []
    return load_spec(path, [*changes, *extra])


def _record(root: Path, name: str) -> Record:
    from sweep.record import Record

    return Record.open(root, name)


def _command() -> str:
    return shlex.join(["stsweep", *sys.argv[1:]])
