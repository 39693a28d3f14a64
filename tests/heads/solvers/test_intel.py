import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(find_spec("sklearnex") is None, reason="needs the extra intel")
def test_intels_machines_are_scikit_learns_in_a_process_without_another_tbb() -> None:
    cases = Path(__file__).parents[1] / "intel_cases.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            "sys.modules['sklearnex'] = None",
            "solver 'intel' needs scikit-learn-intelex; run 'pip install \"featx[intel]\"'",
        ),
        ("sys.path.insert(0, sys.argv[1])", "scikit-learn-intelex cannot be loaded here (no symbol)"),
    ],
)
def test_what_is_in_the_way_is_said(found: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "sklearnex").mkdir()
    (tmp_path / "sklearnex" / "__init__.py").touch()
    (tmp_path / "sklearnex" / "svm.py").write_text("raise ImportError('no symbol')")
    code = (
        f"import sys; {found}\n"
        "from featx.heads.builtin import Task; from featx.registry import HEADS; from featx.errors import FeatxError\n"
        "try: HEADS.get('svm')(Task(9, 2, 2, 0, 'classes', 'intel'))\n"
        "except FeatxError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said)
