"""The command that runs all checks on a GPU: its table, its messages without a GPU, and the carried packages."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.gpu.measurements import SCALES, SECTIONS, Measurement, number_in, write_images
from tests.gpu.run import (
    SECTION_LIMITS_S,
    WIDTH,
    device_problem,
    is_complete,
    marked_files,
    read_report,
    table_lines,
)
from tests.gpu.wheels import is_provided, split_by_size

FACTS = {"gpu": None, "memory_gb": 0.0, "python": "3.12.3", "torch": "2.11.0+cu130", "commit": "0123456"}
MEASUREMENTS = [
    Measurement("tf_efficientnet_lite0: script, naive", 123456.78, "images/s", 1.0, 141_000.0),
    Measurement("lowest cosine of bf16 and fp32", 0.99954, ""),
    Measurement("a name that is far too long for its column in the table", 0.5, "s", 1234.5),
]
REPORT = """<testsuites><testsuite><testcase name="first"/><testcase name="second"><skipped/></testcase>
<testcase name="third"><failure message="no"/></testcase><testcase name="fourth"><error/></testcase></testsuite>
</testsuites>"""


def test_the_table_fits_into_80_columns() -> None:
    sections = {
        "tests": {"n_passed": 3, "n_skipped": 1, "failed": ["x" * 100], "problem": "", "seconds": 61.2},
        "extraction": {
            "measurements": [asdict(measurement) for measurement in MEASUREMENTS],
            "problem": "stopped after 240 s " * 9,
            "seconds": 240,
        },
    }
    for facts in (FACTS, FACTS | {"gpu": "NVIDIA with a name that is very long indeed " * 3, "memory_gb": 139.8}):
        lines = list(table_lines(facts, sections))
        assert max(map(len, lines)) <= WIDTH
    text = "\n".join(lines)
    for part in ("123,456.8 images/s", "1.00  141,000", "0.99954", "1234.50", "3 passed, 1 failed, 1 skipped"):
        assert part in text


def test_failures_and_missing_measurements_are_not_a_success() -> None:
    passed = {"n_passed": 3, "n_skipped": 0, "failed": [], "problem": ""}
    assert is_complete({"tests": passed, "xgboost": {"measurements": [], "problem": ""}})
    assert not is_complete({"tests": passed | {"failed": ["third"]}})
    assert not is_complete({"tests": passed, "xgboost": {"measurements": [], "problem": "stopped after 60 s"}})


def test_a_report_of_tests_is_counted(tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(REPORT)
    assert read_report(tmp_path / "tests.xml") == {"n_passed": 1, "n_skipped": 1, "failed": ["third", "fourth"]}


def test_a_machine_without_gpu_is_told_what_to_do() -> None:
    assert "finds no CUDA device on this machine; run 'make gpu' on one with a GPU" in device_problem("cuda", FACTS)
    assert device_problem("cpu", FACTS) == ""
    assert device_problem("cuda", FACTS | {"gpu": "NVIDIA H200"}) == ""


def test_all_marked_tests_and_all_sections_run() -> None:
    files = marked_files()
    assert "tests/embeddings/test_devices.py" in files
    assert len([file for file in files if file.startswith("tests/gpu/")]) >= 3
    assert set(SECTION_LIMITS_S) == {"tests", *SECTIONS}


def test_large_wheels_go_to_the_second_folder(tmp_path: Path) -> None:
    for name, size in {"a": 40, "b": 10, "c": 30, "d": 5}.items():
        (tmp_path / name).write_bytes(bytes(size))
    first_files, other_files = split_by_size(list(tmp_path.iterdir()), 50)
    assert [file.name for file in first_files] == ["d", "b", "c"]
    assert [file.name for file in other_files] == ["a"]
    assert is_provided("torch")
    assert is_provided("nvidia_cublas")
    assert not is_provided("zarr")


def test_images_of_both_parts_have_two_classes(tmp_path: Path) -> None:
    write_images(tmp_path, SCALES["rehearsal"])
    counts = {
        f"{part}/{name}": len(list((tmp_path / "images" / part / name).iterdir()))
        for part in ("train", "val")
        for name in ("dark", "light")
    }
    assert sum(counts.values()) == SCALES["rehearsal"].n_images
    assert min(counts.values()) >= 2
    with pytest.raises(ValueError, match="is not in"):
        number_in(r"([\d.]+) images/s", "no rate")


@pytest.mark.slow
def test_a_rehearsal_on_the_cpu_makes_every_measurement(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu.run", "--device", "cpu", "--out", str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert process.returncode == 0, process.stdout + process.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["sections"]["tests"]["n_passed"] >= 20
    assert all(results["sections"][name]["measurements"] for name in SECTIONS)
