"""What answers at once answers without the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "mlflow", "transformers", "optuna", "scipy", "pandas")

PROBE = """
import json, sys
sys.argv = {argv!r}
from sweep.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code, [name for name in {heavy!r} if name in sys.modules]]))
"""


def _probe(*arguments: str) -> tuple[int, list[str]]:
    program = PROBE.format(argv=["stsweep", *arguments], heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", program], cwd=HOUSE, capture_output=True, text=True)
    return tuple(json.loads(ran.stdout.splitlines()[-1]))


def test_help_loads_none_of_the_heavy_libraries():
    code, loaded = _probe("--help")
    assert (code, loaded) == (0, [])


def test_check_loads_none_of_the_heavy_libraries():
    code, loaded = _probe("check", "quickstart")
    assert (code, loaded) == (0, [])


def test_a_refusal_loads_none_of_the_heavy_libraries():
    code, loaded = _probe("check", "quickstart", "--set", "encoder.pooling=average")
    assert (code, loaded) == (2, [])
