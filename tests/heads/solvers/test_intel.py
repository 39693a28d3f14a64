"""Support vector machines fitted by Intel's solver, each test in a process of its own."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(find_spec("sklearnex") is None, reason="needs the extra intel")
def test_intel_cases_pass_in_a_process_without_another_tbb() -> None:
    cases = Path(__file__).parents[1] / "intel_cases.py"
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout
    assert " passed" in process.stdout


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "sys.modules['sklearnex'] = None",
            "solver 'intel' needs scikit-learn-intelex; run 'pip install \"featx[intel]\"'",
        ),
        (
            "sys.path.insert(0, sys.argv[1])",
            "scikit-learn-intelex cannot be loaded in this process (no symbol)",
        ),
    ],
)
def test_a_missing_or_broken_package_is_reported(statement: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sklearnex").mkdir()
    (tmp_path / "sklearnex" / "__init__.py").touch()
    (tmp_path / "sklearnex" / "svm.py").write_text("raise ImportError('no symbol')")
    code = (
        f"import sys; {statement}\n"
        "from featx.errors import FeatxError; from featx.registry import HEADS\n"
        "from featx.heads.head_definition import HeadTask\n"
        "try: HEADS.get('svm')(HeadTask(9, 2, 2, 0, 'classes', 'intel'))\n"
        "except FeatxError as error: print(error)"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert process.stdout.startswith(message)
