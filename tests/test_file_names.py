"""File names of names from data: safe, readable, and different for different names."""

import subprocess
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featx.file_names import RESERVED, file_name

UNSAFE_NAMES = [
    "Gender (M/F)",
    "Gender (M/F) ",
    "Gender_M_F",
    "x/../../../../esc",
    "..",
    ".",
    "",
    " ",
    ".hidden",
    "hidden",
    "-rf",
    "rf",
    "n" * 300,
    "n" * 301,
    "ü" * 200,
    "CON",
    "con",
    "nul.txt",
    "LPT1",
    "line\nbreak",
    "line break",
    "a\\b",
    "a/b",
    "a:b",
    "a*b?",
    "\x1b[31mred",
    "\x00",
    "\x7f",
    "\u202egnp.exe",
    "Größe",
    "Gro\u0308ße",
    "分類",
    "हिन्दी",
    "🦊",
    "~",
    "$HOME",
    "`id`",
    "trailing.",
    "[abc]",
    "\ud800",
]


def is_safe(name: str) -> bool:
    """Return whether a name is a valid name of one visible file on any system."""
    return (
        0 < len(name.encode()) <= 180
        and not set(name) & set("/\\:*?\"<>|[]$`~' ")
        and name.isprintable()
        and name[0] not in ".-"
        and name[-1] != "."
        and not RESERVED.match(name)
    )


@given(st.text())
@example("a" * 149 + "é")
def test_every_name_gives_a_safe_file_name(name: str) -> None:
    assert is_safe(file_name(name))
    assert is_safe(file_name(name, "1a2b3c4d"))


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_an_unsafe_name_gives_one_folder_in_its_parent(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / file_name(name)
    folder.mkdir(parents=True)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [file_name(name)]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    subprocess.run(["ls", file_name(name)], cwd=tmp_path / "runs", check=True)


def test_different_names_give_different_file_names() -> None:
    names = UNSAFE_NAMES + [file_name(name) for name in UNSAFE_NAMES if file_name(name) != name]
    assert len({file_name(name) for name in names}) == len(set(names)) > len(UNSAFE_NAMES)


@given(st.sets(st.text(alphabet="aA_-. /\n\\é"), min_size=2, max_size=8))
def test_similar_names_give_different_file_names(names: set[str]) -> None:
    for first, second in combinations(names, 2):
        assert file_name(first) != file_name(second)


@pytest.mark.parametrize(
    "name", ["solar_cells", "svm-class", "timm_resnet50.a1-last", "Größe", "分類", "blocks.4+head"]
)
def test_a_safe_name_is_unchanged(name: str) -> None:
    assert file_name(name) == name
    assert file_name(name, "1a2b") == f"{name}-1a2b"
