"""All checks on a CUDA device in at most eight minutes: tests marked ``gpu``, then measurements.

usage: python -m tests.gpu.run [--device cuda|cpu] [--out FOLDER]

Packages that the machine lacks are installed from ``build/gpu-wheels*`` (``make gpu-wheels``), for this command alone.
``gpu.json`` in the folder (default ``build/gpu``) holds all results. With ``--device cpu`` everything runs on the CPU
with small sizes, which rehearses the checks and measures nothing. Exit code 0: all tests passed and all measurements
were made; 1: anything else.

Only the standard library is imported here, since the packages are not installed yet.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
WHEELS = (ROOT / "build" / "gpu-wheels", ROOT / "build" / "gpu-wheels-2")
SITE = ROOT / "build" / "gpu-site"
WIDTH = 80
LIMIT_S = 480
# Section → the longest time in seconds that it may take.
SECTION_LIMITS_S = {"tests": 200, "precision": 60, "xgboost": 60, "finetuning": 120, "extraction": 240}
FACTS = """
import json, platform
import torch, torchvision, xgboost, timm, featx
from featx.artifacts.header import commit
is_available = torch.cuda.is_available()
memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9 if is_available else 0
print(json.dumps({
    "gpu": torch.cuda.get_device_name(0) if is_available else None, "memory_gb": round(memory_gb, 1),
    "cuda": torch.version.cuda, "python": platform.python_version(), "torch": torch.__version__,
    "torchvision": torchvision.__version__, "timm": timm.__version__, "xgboost": xgboost.__version__,
    "commit": commit(),
}))
"""


def install_wheels() -> None:
    """Install the carried wheels into a folder that only this command uses.

    Raises
    ------
    SystemExit
        pip cannot install them, for example because they are for another version of Python.
    """
    files = sorted(str(file) for folder in WHEELS for file in folder.glob("*.whl"))
    if not files:
        return
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade", "--target", str(SITE)]
    command = [sys.executable, "-m", "pip", "install", *options, *files]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        reasons = [line for line in process.stderr.splitlines() if line.startswith("ERROR")] or ["no reason is known"]
        raise SystemExit(
            f"error: the packages in build/gpu-wheels* cannot be installed ({reasons[0]}); remove the folders, or run "
            "'make gpu-wheels BASE_PYTHON=…' with a Python of this machine's version"
        )


def environment_for(device: str) -> dict[str, str]:
    """Return the environment of all checks: this checkout first, then the carried packages."""
    paths = [str(ROOT), str(SITE), os.environ.get("PYTHONPATH", "")]
    extra_variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "FEATX_TEST_DEVICE": device,
        "FEATX_OFFLINE": "1",
    }
    return os.environ | extra_variables


def read_facts(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the names and versions of device and packages.

    Raises
    ------
    SystemExit
        featx or a package that it needs cannot be imported.
    """
    process = subprocess.run([sys.executable, "-c", FACTS], env=environment, capture_output=True, text=True)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no reason is known"])[-1]
        raise SystemExit(
            f"error: {sys.executable} cannot import what the checks need ({reason}); run 'make gpu-wheels' on a "
            "machine with network, and copy build/gpu-wheels* here"
        )
    facts: dict[str, Any] = json.loads(process.stdout)
    return facts


def device_problem(device: str, facts: Mapping[str, Any]) -> str:
    """Return why the checks cannot run on a device, empty if they can."""
    if device == "cpu" or facts["gpu"] is not None:
        return ""
    return (
        f"torch {facts['torch']} finds no CUDA device on this machine; run 'make gpu' on one with a GPU, or rehearse "
        "it with 'python -m tests.gpu.run --device cpu'"
    )


def marked_files() -> list[str]:
    """Return the files with tests that are marked ``gpu``."""
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text()]
    return sorted(str(path.relative_to(ROOT)) for path in {*marked, *Path(__file__).parent.glob("test_gpu_*.py")})


def run_tests(out: Path, environment: Mapping[str, str], limit_s: float) -> dict[str, Any]:
    """Run the tests marked ``gpu``, and return their counts and the names of those that failed."""
    report = out / "tests.xml"
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "-o", "filterwarnings=default", f"--junit-xml={report}"]
    with (out / "tests.log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *marked_files()],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
    return read_report(report)


def read_report(report: Path) -> dict[str, Any]:
    """Return the counts of a JUnit report, and the names of the tests that failed."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed_names = [
        case.get("name", "") for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    n_skipped = sum(case.find("skipped") is not None for case in cases)
    return {"n_passed": len(cases) - len(failed_names) - n_skipped, "n_skipped": n_skipped, "failed": failed_names}


def run_section(
    section: str, device: str, out: Path, environment: Mapping[str, str], limit_s: float
) -> tuple[list[dict[str, Any]], str]:
    """Run the measurements of a section; return those that were made, and why others are missing."""
    file, log = out / f"{section}.json", out / f"{section}.log"
    scale = "full" if device == "cuda" else "rehearsal"
    command = [sys.executable, "-m", "tests.gpu.measurements", section, device, scale, str(file.absolute())]
    problem = ""
    file.unlink(missing_ok=True)
    with log.open("w") as output:
        try:
            subprocess.run(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=limit_s, check=True
            )
        except subprocess.TimeoutExpired:
            problem = f"stopped after {limit_s:.0f} s"
        except subprocess.CalledProcessError:
            problem = (log.read_text().strip().splitlines() or ["failed without a message"])[-1]
    return json.loads(file.read_text()) if file.is_file() else [], problem


def run_all(device: str, out: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run all sections within the limit, and return their results."""
    start = time.perf_counter()
    sections: dict[str, Any] = {}
    for section, section_limit_s in SECTION_LIMITS_S.items():
        begin = time.perf_counter()
        limit_s = min(section_limit_s, LIMIT_S - (begin - start)) if device == "cuda" else LIMIT_S
        print(f"{section} …", flush=True)
        result: dict[str, Any] = {"problem": ""}
        if limit_s <= 0:
            result["problem"] = f"not started: {LIMIT_S} s are over"
        elif section == "tests":
            try:
                result |= run_tests(out, environment, limit_s)
            except (subprocess.TimeoutExpired, ElementTree.ParseError, OSError) as error:
                result["problem"] = f"{type(error).__name__}; see tests.log"
        else:
            result["measurements"], result["problem"] = run_section(section, device, out, environment, limit_s)
        sections[section] = result | {"seconds": round(time.perf_counter() - begin, 1)}
    return sections


def is_complete(sections: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether all tests passed and all measurements were made."""
    return not any(result["problem"] or result.get("failed") for result in sections.values())


def table_lines(facts: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of all results, at most 80 characters each."""
    device = f"{facts['gpu']}, {facts['memory_gb']} GB" if facts["gpu"] else "CPU (a rehearsal; no figure counts)"
    yield device[:WIDTH]
    yield f"Python {facts['python']}, torch {facts['torch']}, commit {str(facts['commit'])[:12]}"[:WIDTH]
    yield f"{'':44}{'value':>10} {'unit':<9}{'ratio':>7}{'peak MB':>9}"
    for section, result in sections.items():
        yield f"{section}, {result['seconds']:.0f} s"
        if "n_passed" in result:
            counts = f"{result['n_passed']} passed, {len(result['failed'])} failed, {result['n_skipped']} skipped"
            yield f"  {counts}"
            yield from (f"  failed: {name}"[:WIDTH] for name in result["failed"])
        yield from map(_table_row, result.get("measurements", ()))
        if result["problem"]:
            yield f"  problem: {result['problem']}"[:WIDTH]


def _table_row(measurement: Mapping[str, Any]) -> str:
    value, ratio, peak_mb = (measurement[name] for name in ("value", "ratio", "peak_mb"))
    number = f"{value:.5f}" if value < 1 else f"{value:,.1f}"
    columns = f"{number:>10} {measurement['unit']:<9}"
    columns += f"{'' if ratio is None else f'{ratio:.2f}':>7}{'' if peak_mb is None else f'{peak_mb:,.0f}':>9}"
    return f"  {measurement['name'][:41]:42}{columns}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks, write ``gpu.json``, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu")
    options = parser.parse_args(arguments)
    install_wheels()
    environment = environment_for(options.device)
    facts = read_facts(environment)
    if problem := device_problem(options.device, facts):
        sys.stderr.write(f"error: {problem}\n")
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    sections = run_all(options.device, options.out, environment)
    (options.out / "gpu.json").write_text(
        json.dumps(facts | {"device": options.device, "sections": sections}, indent=1)
    )
    print("\n".join(table_lines(facts, sections)))
    print(f"written: {options.out / 'gpu.json'}")
    return 0 if is_complete(sections) else 1


if __name__ == "__main__":
    sys.exit(main())
