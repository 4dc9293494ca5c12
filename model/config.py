"""`TrainConfig`: every knob of one training run, frozen and checked. Importing this module loads no torch.

A knob has one dotted name everywhere (`loss.temperature`): in a YAML file, after `--set`, in Optuna, in a row, in
MLflow. `flatten` and `TrainConfig.from_flat` translate between the tree and those names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

PoolingName = Literal[
    "cls",
    "avg_last_hidden",
    "avg_last_second_hidden",
    "avg_all_hidden",
    "avg_second_to_last_hidden",
    "avg_first_last",
    "avg_last2",
    "avg_last4",
    "max_all_hidden",
    "max_second_to_last_hidden",
    "max_first_last",
    "max_last2",
    "max_last4",
    "concat_last4",
]
"""The paper's fourteen poolings (Table 7); `model/pooling.py` defines each."""

POOLING_DEPTH: dict[str, int] = {name: 4 if name.endswith("last4") else 1 for name in get_args(PoolingName)}
"""Pooling → transformer layers it needs. The `last4` family pools h[L−3] to h[L], never h[0], the embedding output."""

ViewName = Literal["dropout", "word_deletion", "span_crop"]
DistillationName = Literal["cosine", "similarity"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


def _split_text(value: Any) -> Any:
    """`"0,5"` → `["0", "5"]`: a list as one scalar, so that `--set` and Optuna's categories can carry it."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Layers = Annotated[tuple[int, ...], BeforeValidator(_split_text)]
Paths = Annotated[tuple[str, ...], BeforeValidator(_split_text)]


class Section(BaseModel):
    """A frozen branch of the tree: unknown keys are refused, NaN and infinity too."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class EncoderConfig(Section):
    """Where the encoder comes from and how its token vectors become one sentence vector."""

    name: str = Field(default="distilbert-base-uncased", min_length=1)
    """A Hub id, a local folder, or `package:NAME` (an installed Python package that carries weights)."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """`random` keeps only the configuration and the tokenizer of `name`: an encoder from scratch."""
    keep_layers: Layers | None = None
    """Transformer layers kept, from 0 (negative from the end): `[0, 5]` makes a two-layer student. None: all."""
    pooling: PoolingName = "avg_first_last"
    """How layers and tokens are pooled. The paper's default; its best is `avg_last4`."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Probability of hidden and attention dropout in training. None: what the encoder's own configuration says."""
    max_length: int = Field(default=32, ge=3, le=512)
    """Tokens a training sentence is cut to, special tokens included. Evaluation never cuts."""

    @model_validator(mode="after")
    def _layers_are_distinct(self) -> Self:
        if self.keep_layers is not None and (
            not self.keep_layers or len(set(self.keep_layers)) != len(self.keep_layers)
        ):
            raise ValueError("keep_layers needs at least one layer and names each once")
        return self


class DataConfig(Section):
    """The unlabelled sentences."""

    corpus: Paths = Field(default=("demo",), min_length=1)
    """Text files, UTF-8, one sentence a line. `demo` is the demonstration corpus that ships with the project."""


class ViewsConfig(Section):
    """How the two views of a sentence, a positive pair, are made. Dropout is always on; the others add to it."""

    kind: ViewName = "dropout"
    """`dropout`: the same tokens twice (SimCSE). `word_deletion`, `span_crop`: the second view loses words."""
    rate: float = Field(default=0.1, ge=0, lt=1)
    """Share of words lost by `word_deletion` or `span_crop`; `dropout` ignores it."""


class LossConfig(Section):
    """`contrastive_weight` × InfoNCE + `distillation_weight` × distillation."""

    temperature: float = Field(default=0.05, gt=0)
    """τ of InfoNCE (SimCSE, equation 1)."""
    contrastive_weight: float = Field(default=1.0, ge=0)
    """Weight of the contrastive loss; 0 turns it, and the second view's forward pass, off."""
    distillation_weight: float = Field(default=0.0, ge=0)
    """Weight of the distillation loss; above 0 it needs `teacher.name`."""
    distillation: DistillationName = "cosine"
    """`cosine`: 1 − cosine to the teacher's vector, of equal width. `similarity`: match the batch's cosine matrix."""

    @model_validator(mode="after")
    def _something_to_minimise(self) -> Self:
        if self.contrastive_weight == 0 and self.distillation_weight == 0:
            raise ValueError("contrastive_weight and distillation_weight are both 0: nothing to minimise")
        return self


class TeacherConfig(Section):
    """The encoder whose embeddings a student is trained towards. They are computed once and shared by all trials."""

    name: str | None = None
    """As `encoder.name`. None: no teacher."""
    pooling: PoolingName = "avg_last_hidden"
    """The teacher's own pooling."""


class OptimConfig(Section):
    """AdamW (β 0.9 and 0.999, ε 1e-8) with linear decay to 0 over the whole budget, no warm-up."""

    learning_rate: float = Field(default=5e-5, gt=0)
    """Learning rate of the first step."""
    batch_size: int = Field(default=64, ge=2)
    """Sentences a step; each has `batch_size − 1` in-batch negatives."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm."""


class BudgetConfig(Section):
    """How long a run is, in sentences seen: a step costs four times as much at batch 256 as at 64."""

    sentences: int = Field(default=30_000 * 64, ge=2, le=10**12)
    """Sentences seen at the end of the run, rounded up to a whole batch. Each counts once, whatever its views."""


class TrainConfig(Section):
    """One training run. The same object in the driver, in a worker and in a notebook."""

    encoder: EncoderConfig = EncoderConfig()
    data: DataConfig = DataConfig()
    views: ViewsConfig = ViewsConfig()
    loss: LossConfig = LossConfig()
    teacher: TeacherConfig = TeacherConfig()
    optim: OptimConfig = OptimConfig()
    budget: BudgetConfig = BudgetConfig()
    precision: PrecisionName = "auto"
    """`auto`: bf16 where the processor has it, else fp32. `fp16` uses gradient scaling and needs a GPU."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds initial weights, data order, views and dropout."""

    @model_validator(mode="after")
    def _distillation_has_a_teacher(self) -> Self:
        if self.loss.distillation_weight > 0 and self.teacher.name is None:
            raise ValueError("loss.distillation_weight is above 0 and teacher.name is not given")
        return self

    def flatten(self) -> dict[str, Any]:
        """Dotted names → values, every knob, JSON types only (tuples become comma-joined text)."""
        return dict(_walk(self.model_dump(mode="json"), ""))

    @classmethod
    def from_flat(cls, knobs: Mapping[str, Any]) -> TrainConfig:
        """The inverse of `flatten`; knobs left out keep their default.

        Raises:
            pydantic.ValidationError: a name or a value is not allowed.
        """
        tree: dict[str, Any] = {}
        for name, value in knobs.items():
            *branches, leaf = name.split(".")
            node = tree
            for branch in branches:
                node = node.setdefault(branch, {})
            node[leaf] = value
        return cls.model_validate(tree)

    def replace(self, knobs: Mapping[str, Any]) -> TrainConfig:
        """A copy with some knobs changed, by dotted name."""
        return TrainConfig.from_flat(self.flatten() | dict(knobs))


def _walk(node: Any, prefix: str) -> Any:
    for key, value in node.items():
        name = prefix + key
        if isinstance(value, dict):
            yield from _walk(value, name + ".")
        else:
            yield name, ",".join(map(str, value)) if isinstance(value, list) else value


def knob_names() -> tuple[str, ...]:
    """Every dotted name of the tree, in order."""
    return tuple(TrainConfig().flatten())
