"""Commands, code and links of the README."""

import re
import sys
from pathlib import Path

import pytest

from featx.cli.main import main
from tests.conftest import make_images

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCK = re.compile(r"<!-- run: ([^>]+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


def test_the_blocks_run_in_a_folder_with_photos(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = {kind: code for _, kind, code in BLOCK.findall(README)}
    assert set(blocks) == {"bash", "python"}
    make_images(home / "photos", n_each=30)
    commands = blocks["bash"].splitlines()
    assert len(commands) == 8
    for command in commands:
        sys.argv = command.split()
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code, (command, capsys.readouterr().err)
    capsys.readouterr()
    exec(compile(blocks["python"], "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["60 0 []", "('dark', 'light') ['dark']"]


def test_all_paths_and_links_exist() -> None:
    root = Path(__file__).parents[1]
    paths = re.findall(r"`((?:docs|tests|featx|pipelines)/[\w/.]+)`", README)
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", README)
    assert len(links) >= 20
    assert [path for path in (*paths, *links) if not (root / path).exists()] == []
