"""Direction of imports between packages, and the packages that may import torch."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import featx

ROOT = Path(featx.__file__).parent
# Each package may import only from those before it; heads and finetuning do not import each other.
ORDER = [
    "text",
    "errors",
    "foreign_code",
    "registry",
    "progress",
    "files",
    "specs",
    "parallel",
    "locations",
    "file_names",
    "storage",
    "tables",
    "images",
    "metrics",
    "study",
    "artifacts",
    "networks",
    "embeddings",
    "cache",
    "heads",
    "finetuning",
    "ensembles",
    "predictors",
    "exports",
    "evaluation",
    "exploration",
    "robustness",
    "reports",
    "workflow",
    "cli",
]
MAX_LOOSE_MODULES = 6
MAY_IMPORT_TORCH = {"networks", "embeddings", "finetuning", "robustness"}
# Heads use no images, ensembles use predictions only, evaluation and reports use no models. Evaluation may import
# images and embeddings, because it searches them for copies.
MUST_NOT_IMPORT = {
    "heads": {"images", "networks"},
    "finetuning": {"heads"},
    "ensembles": {"images", "networks", "embeddings", "heads", "finetuning"},
    "evaluation": {"networks", "heads", "finetuning", "predictors"},
    "reports": {"networks", "embeddings", "heads", "finetuning", "predictors"},
}
# The page of predictions shows what models say about new images.
EXCEPTIONS = {"reports/prediction_gallery.py": {"predictors"}}
FILES = sorted(ROOT.rglob("*.py"))


def package_of(path: Path) -> str:
    """Return the package or module right below featx that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_names(path: Path) -> Iterator[str]:
    """Yield the full name of every import of a file, including those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            base = node.module or ""
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_name(path: Path) -> str:
    return ".".join(("featx", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Return the modules of featx that a file imports, including those inside functions."""
    modules = {module_name(file) for file in FILES}
    names = {name for name in imported_names(path) if name.startswith("featx.")}
    return {name if name in modules else name.rpartition(".")[0] for name in names} & modules


def test_no_files_import_each_other_in_a_cycle() -> None:
    graph = {module_name(path): imported_modules(path) for path in FILES if path.name != "__init__.py"}
    # A cycle raises CycleError, which names the files.
    assert list(TopologicalSorter(graph).static_order())


def test_few_modules_are_outside_packages() -> None:
    loose = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "__init__")
    assert len(loose) <= MAX_LOOSE_MODULES, loose


def test_no_two_modules_have_the_same_name() -> None:
    counts = Counter(path.stem for path in FILES if path.stem not in {"__init__", "base"})
    assert [name for name, n in counts.items() if n > 1] == []


def named_modules(path: Path) -> set[str]:
    """Return the modules that the docstring of a test file lists after "Modules:"."""
    section = re.search(r"^Modules: (.+?)\.(\n\n|$)", ast.get_docstring(ast.parse(path.read_text())) or "", re.M | re.S)
    return {f"featx.{name}" for name in re.split(r",\s+", section[1])} if section else set()


def test_every_module_has_a_test_file_or_is_named_in_one() -> None:
    tests = Path(__file__).parent
    modules = {module_name(path): path.relative_to(ROOT) for path in FILES if not path.stem.startswith("__")}
    documented_modules = set[str]().union(*map(named_modules, tests.rglob("test_*.py")))
    mirrored_modules = {
        name for name, path in modules.items() if (tests / path).with_name(f"test_{path.name}").exists()
    }
    assert sorted(documented_modules - set(modules)) == [], "test files name modules that do not exist"
    assert sorted(set(modules) - mirrored_modules - documented_modules) == [], (
        "add these to 'Modules:' in the docstring of the file that tests them"
    )


def imported_packages(path: Path) -> set[str]:
    names = [name.split(".") for name in imported_names(path)]
    return {name[1] for name in names if name[0] == "featx" and len(name) > 1}


def test_every_package_is_listed_in_the_import_order() -> None:
    assert {package_of(path) for path in FILES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("path", [path for path in FILES if package_of(path) not in {"__init__", "cli"}], ids=str)
def test_packages_import_only_from_earlier_ones(path: Path) -> None:
    package = package_of(path)
    later_packages = {part for part in imported_packages(path) - {package} if ORDER.index(part) > ORDER.index(package)}
    assert not later_packages
    forbidden = MUST_NOT_IMPORT.get(package, set()) - EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), set())
    assert not imported_packages(path) & forbidden


def test_only_allowed_packages_import_torch() -> None:
    importers = {
        package_of(path)
        for path in FILES
        if any(name.split(".")[0] in {"torch", "torchvision", "timm"} for name in imported_names(path))
    }
    assert importers == MAY_IMPORT_TORCH


@pytest.mark.parametrize(
    "code",
    [
        "import featx",
        "import featx; featx.fit, featx.load, featx.ensemble, featx.evaluate, featx.report, featx.extract, featx.init",
        "import featx.cli.main",
    ],
)
def test_importing_featx_does_not_import_torch(code: str) -> None:
    check = f"{code}\nimport sys\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'sklearn', 'pandas', 'numpy', 'pydantic', 'optuna', 'matplotlib', 'zarr'}"
    check = f"import featx.cli.main, sys\nassert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_public_names_exist_and_are_listed() -> None:
    assert set(featx.__all__) == set(featx._HOME)
    assert all(callable(getattr(featx, name)) for name in featx.__all__)
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        _ = featx.extrct
