"""Commands, code and links of the README."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.cli.main import main
from tests.conftest import make_images
from tests.docs.markdown_pages import PAGES

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCK = re.compile(r"<!-- run: ([^>]+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


def test_the_blocks_run_in_a_folder_with_photos(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = {(marker, kind): code for marker, kind, code in BLOCK.findall(README)}
    make_images(home / "photos", n_each=30)
    commands = blocks["in a folder with photos/", "bash"].splitlines()
    assert len(commands) == 8
    for command in commands:
        sys.argv = command.split()
        with pytest.raises(SystemExit) as exit_info:
            main()
        assert not exit_info.value.code, (command, capsys.readouterr().err)
    capsys.readouterr()
    exec(compile(blocks["after the block above", "python"], "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["60 0 []", "('dark', 'light') ['dark']"]
    names: dict[str, object] = {"x": np.zeros((3, 1280), dtype=np.float32)}
    exec(with_real_names(blocks["with the folder of a run and x", "python"]), names)
    assert np.shape(names["proba"]) == (3, 2)
    marker, blocks_of_page = "with the folder of a run", PAGES["docs/getting_started.md"].blocks
    (loading,) = (block.code for block in blocks_of_page if block.marker == marker)
    exec(with_real_names(loading), {})
    assert capsys.readouterr().out == "['dark']\n"


def with_real_names(code: str) -> str:
    """Return code with a run and an image of this study in place of those of the example."""
    (run,) = Path("runs/featx").glob("svm-*")
    return re.sub(r"runs/featx/[\w-]+", str(run), code).replace("new/123.png", "photos/dark/000.png")


def test_the_transformer_fits_into_a_pipeline(home: Path) -> None:
    (code,) = (code for marker, _, code in BLOCK.findall(README) if marker == "with paths and labels")
    ids = make_images(home / "photos", n_each=4)
    names: dict[str, Any] = {
        "paths": [f"photos/{name}" for name in ids],
        "labels": [name.partition("/")[0] for name in ids],
    }
    *imports, call = code.splitlines()
    exec("\n".join([*imports, f"pipeline = {call}"]), names)
    assert list(names["pipeline"].predict(names["paths"][:1])) == ["dark"]


def test_all_paths_and_links_exist() -> None:
    root = Path(__file__).parents[1]
    paths = re.findall(r"`((?:docs|tests|featx|pipelines)/[\w/.]+)`", README)
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", README)
    assert len(links) >= 20
    assert [path for path in (*paths, *links) if not (root / path).exists()] == []
