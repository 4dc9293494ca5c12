"""The commands on encoders and their data: eval, bench, data check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sweep.cli.app import DEFAULT, DataDir, Json, Root, Set, Trust, app, load, record_of, spec_path
from sweep.errors import Problem, Refused
from sweep.object_store.root import root_folder

Models = Annotated[
    list[str] | None, typer.Argument(metavar="[MODEL]...", help="Hub id, folder, package:NAME, or `lexical`.")
]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: sts12 … sts16, stsb, sickr, sickr-mteb, stsb-dev-clean, demo; mr, cr, subj, mpqa, sst2, "
        "trec, mrpc; or the groups paper5, sts7, transfer."
    ),
]
StsTasks = Annotated[
    str | None, typer.Option(help="Comma-separated: sts12 … sts16, stsb, sickr, demo; or the groups paper5, sts7.")
]
Split = Annotated[str, typer.Option(help="dev, test, train or all; the only split of a task that has no other.")]

data = typer.Typer(help="Audit the data: what splits to choose on, corpus and test sets have in common.")
app.add_typer(data, name="data")


@app.command(name="eval")
def evaluate(
    models: Models = None,
    sweep: Annotated[
        str | None, typer.Option(help="A sweep: its winner, untrained encoder, teacher and lexical floor.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Compare each of the others with this encoder, pair by pair.")
    ] = None,
    tasks: Tasks = None,
    split: Split = "test",
    pooling: Annotated[
        str | None, typer.Option(help="A pooling in place of the encoders' own, or `all` from one forward pass.")
    ] = None,
    changes: Set = [],  # noqa: B006
    corpus: Annotated[str | None, typer.Option(help="Files that the lexical floor is fitted on.")] = None,
    word_counts: Annotated[Path | None, typer.Option(help="`word count` lines for the lexical floor.")] = None,
    resamples: Annotated[
        int | None, typer.Option(help="Of the bootstrap; 0: no intervals. Default: 2000, or 0 with --pooling all.")
    ] = None,
    data_dir: DataDir = None,
    root: Root = DEFAULT,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Score encoders on STS (Spearman × 100 over all pairs of a task, nothing cut) and transfer tasks."""
    from evaluation.bootstrap import RESAMPLES
    from sweep.encoders import LexicalSource
    from sweep.scores import ALL_POOLINGS
    from sweep.scores import evaluate as evaluate_models

    files = tuple(file.strip() for file in corpus.split(",")) if corpus else ()
    table = evaluate_models(
        models or [],
        record=record_of(root, sweep) if sweep else None,
        against=against,
        tasks=tasks,
        split=split,
        changes=changes,
        pooling=pooling,
        lexical=LexicalSource(files, word_counts),
        data_dir=data_dir,
        root=root_folder(root),
        resamples=(0 if pooling == ALL_POOLINGS else RESAMPLES) if resamples is None else resamples,
        trust_remote_code=trust_remote_code,
    )
    print(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())


@app.command()
def bench(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Hub id, folder or package:NAME.")],
    precisions: Annotated[str, typer.Option(help="Comma-separated.")] = "fp32,bf16,int8",
    tasks: StsTasks = "demo",
    split: Split = "test",
    changes: Set = [],  # noqa: B006
    threads: Annotated[int | None, typer.Option(help="Processor threads; default: all.")] = None,
    data_dir: DataDir = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Measure size, speed, latency, memory and score of encoders in fp32, bf16 and int8, side by side."""
    from sweep.bench import bench as bench_models

    table = bench_models(
        models,
        changes=changes,
        precisions=[each.strip() for each in precisions.split(",") if each.strip()],
        tasks=tasks or "demo",
        split=split,
        data_dir=data_dir,
        threads=threads,
        trust_remote_code=trust_remote_code,
    )
    print(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())


@data.command(name="check")
def check_data(
    spec: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="A sweep, whose objective and corpus are audited.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Training files, comma-separated, instead of the spec's.")] = None,
    tasks: StsTasks = None,
    write_clean: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the corpus without the sentences of the test sets.")
    ] = None,
    changes: Set = [],  # noqa: B006
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say which pairs and sentences the splits to choose on, the corpus and the test sets share."""
    from sweep.data_check import check_data as audit

    if changes and spec is None:
        raise Refused([Problem("changes a spec, and none was given", "--set")], next="stsweep data check SPEC --set …")
    report = audit(
        spec=load(spec_path(spec), changes, data_dir) if spec else None,
        corpus=corpus,
        tasks=tasks,
        data_dir=data_dir,
        write_clean=write_clean,
    )
    print(json.dumps(report.to_json(), indent=2) if as_json else report.to_text())
