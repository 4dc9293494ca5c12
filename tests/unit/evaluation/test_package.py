import subprocess
import sys


def test_importing_the_package_loads_neither_numpy_nor_scipy_and_its_modules_no_torch():
    code = (
        "import sys, evaluation, evaluation.errors; assert not {'numpy', 'scipy'} & set(sys.modules); "
        "import evaluation.tasks, evaluation.lexical; assert 'scipy' not in sys.modules; "
        "import evaluation.score, evaluation.tables; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
