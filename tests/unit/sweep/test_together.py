"""Rules over several knobs, over a whole search."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from model.config import TrainConfig
from sweep.spec.together import RELATED
from tests.unit.sweep.specs import one_problem


def knobs_read(section: type[BaseModel], prefix: str = "") -> Iterator[set[str]]:
    """What each rule of a section, or of one below it, reads: every `self.KNOB` in its source."""
    for rule in section.__pydantic_decorators__.model_validators.values():
        yield {prefix + name for name in re.findall(r"\bself\.([\w.]+)", inspect.getsource(rule.func))}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from knobs_read(field.annotation, f"{prefix}{name}.")


def test_every_knob_that_a_rule_over_several_reads_is_known() -> None:
    several = [knobs for knobs in knobs_read(TrainConfig) if len(knobs) > 1]
    assert len(several) >= 2 and set.union(*several) == set(RELATED)


def test_one_point_of_a_grid_that_breaks_a_rule_is_named_wherever_it_stands(tmp_path: Path) -> None:
    text = """\
name: g
objective: {task: demo}
sampler: {name: grid}
train: {teacher: {name: some/teacher}}
search:
  views.rate: {choices: [0.1, 0.2]}
  loss.contrastive_weight: {choices: [0.5, 0]}
  loss.distillation_weight: {choices: [1, 0]}
"""
    said = one_problem(tmp_path, text)
    assert "both 0" in said
    assert said.endswith(" at views.rate = 0.1, loss.contrastive_weight = 0.0, loss.distillation_weight = 0.0")
