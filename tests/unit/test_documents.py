"""The documents: their links lead somewhere, the example is a sweep, and the tree is the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweep.spec.sweep_spec import load_spec

HOUSE = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "evaluation/**/*.md", "search_spaces/*.md")
    for path in HOUSE.glob(pattern)
)
README = (HOUSE / "README.md").read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_every_relative_link_leads_to_a_file(path):
    targets = re.findall(r"\]\(([^)#\s]+)\)", path.read_text())
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert not missing


def test_the_readmes_example_is_a_sweep(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert block
    (tmp_path / "my-sweep.yaml").write_text(block[1])
    assert load_spec(tmp_path / "my-sweep.yaml").searched == (
        "optim.learning_rate",
        "loss.temperature",
        "encoder.pooling",
    )


def test_the_readmes_tree_names_every_module_and_no_other():
    tree = README.split("## The tree")[1].split("```")[1]
    named = sorted(re.findall(r"\b\w+\.py\b", tree))
    packages = ("sweep", "model", "evaluation")
    there = sorted(
        path.name
        for package in packages
        for path in (HOUSE / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    )
    assert named == there
