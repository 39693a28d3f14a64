"""The scripts and styles of pages have no faults that Biome finds, and stay small."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import featx.reports.page

TEMPLATES = Path(featx.reports.page.__file__).parent / "templates"
BIOME = "@biomejs/biome@2.6.8"
# Lines of all scripts together; they use no framework.
MAX_LINES = 400


def test_scripts_are_small() -> None:
    lines = [line for path in TEMPLATES.glob("*.js") for line in path.read_text().splitlines()]
    assert 0 < len(lines) <= MAX_LINES


@pytest.mark.skipif(shutil.which("npx") is None, reason="Node is not installed")
def test_biome_finds_no_fault() -> None:
    environment = os.environ | {"npm_config_fetch_retries": "0", "npm_config_fetch_timeout": "20000"}
    files = [str(path) for path in TEMPLATES.iterdir() if path.suffix in {".css", ".js"}]
    command = ["npx", "--yes", BIOME, "lint", "--error-on-warnings", *files]
    has_biome = subprocess.run([*command[:3], "--version"], env=environment, capture_output=True, check=False)
    if has_biome.returncode:
        pytest.skip("Biome cannot be downloaded")
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=TEMPLATES)
    assert result.returncode == 0, result.stdout + result.stderr
