"""Sweeps that ship with the project, one a YAML file: `stsweep run quickstart` finds one by its name."""

from __future__ import annotations

from pathlib import Path

__all__ = ["folder", "names"]


def folder() -> Path:
    """Where the YAML files are."""
    return Path(__file__).resolve().parent


def names() -> list[str]:
    """The shipped sweeps, in alphabetical order: each is `folder() / f"{name}.yaml"`."""
    return sorted(path.stem for path in folder().glob("*.yaml"))
