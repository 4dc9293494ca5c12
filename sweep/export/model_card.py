"""The model card of an exported encoder: sentence-transformers' own, and how this encoder was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweep.record import Record
from sweep.spec.yaml_file import dump
from sweep.trial_record import Trial

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from sweep.spec.sweep_spec import SweepSpec

_PLACEHOLDER = '"sentence_transformers_model_id"'
_DOWNLOAD = "# Download from the 🤗 Hub\n"
_BEFORE = "## Training Details"


def describe(built: SentenceTransformer, spec: SweepSpec) -> None:
    """Fill in what the library's template asks for, without asking the Hub."""
    card = built.model_card_data
    card.local_files_only = True
    card.generate_widget_examples = False
    card.model_name = f"{spec.name}, a sentence encoder trained without labels"
    card.task_name = "semantic textual similarity"
    name = spec.train.encoder.name
    if ":" not in name and not Path(name).exists():
        card.base_model = name


def write_card(path: Path, record: Record, trial: Trial, folder_name: str, note: str | None) -> None:
    """Complete the card that sentence-transformers wrote to `path`.

    Args:
        path: README.md of the folder.
        record: the sweep.
        trial: the exported trial.
        folder_name: what the folder will be called, for the example in the card.
        note: what to know before loading it.
    """
    arguments = f'"{folder_name}"' + (", trust_remote_code=True" if note else "")
    card = path.read_text(encoding="utf-8").replace(_PLACEHOLDER, arguments).replace(_DOWNLOAD, "")
    head, found, tail = card.partition(_BEFORE)
    path.write_text(f"{head}{_chosen_how(record, trial, note)}\n{found}{tail}", encoding="utf-8")


def _chosen_how(record: Record, trial: Trial, note: str | None) -> str:
    trials = record.trials()
    knobs = {name: trial.config[name] for name in sorted(trial.config)}
    rows = [("this encoder", trial.score), *record.baselines().items()]
    return "\n".join(
        [
            "## How This Encoder Was Chosen",
            "",
            f"Trial {trial.number} of the stsweep sweep `{record.name}`, of {len(trials)} trials. **The score is of "
            "the development split by which these trials were compared**, so the best of them is an optimistic one. "
            "It says nothing of a test set, and a fresh seed may score lower.",
            "",
            f"| encoder | {record.about['objective']}, × 100 |",
            "|---|---|",
            *(f"| {name} | {'–' if score is None else format(score, '.2f')} |" for name, score in rows),
            "",
            "`untrained` is the encoder before training, `lexical` a scorer without a neural network that knows only "
            "how words are spelt and how frequent they are, `teacher` the encoder of `teacher.name`.",
            "",
            *([f"To load it: {note}.", ""] if note else []),
            "Every knob of the run; `stsweep train config.yaml --out FOLDER` runs it again from this folder:",
            "",
            "```yaml",
            dump(knobs).rstrip(),
            "```",
            "",
        ]
    )
