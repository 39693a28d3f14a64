"""A study with images whose brightness determines class and level."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import featx
from tests.finetuning.specs import SECTIONS
from tests.recipes import toy_recipe


@pytest.fixture
def study(home: Path) -> Path:
    """A working directory with 60 extracted images, whose brightness determines class and level."""
    rng = np.random.default_rng(0)
    (home / "images").mkdir()
    rows = []
    for number in range(60):
        level = number % 10 / 10
        pixels = rng.normal(40 + 160 * level, 25, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(home / "images" / f"{number}.png")
        side = "left" if number % 3 else "right"
        rows.append((f"{number}.png", "bright" if level >= 0.5 else "dark", level, side))
    pd.DataFrame(rows, columns=["path", "class", "level", "side"]).to_csv(home / "images" / "labels.csv", index=False)
    (home / "featx.toml").write_text(toy_recipe(**SECTIONS))
    featx.extract()
    return home
