"""Images of recipes that fine-tune are checked again when their decoding changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx import extract, finetune
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import toy_recipe

NETWORK = {"backbone": "toy", "weights": "none", "strategy": "head", "epochs": 1}


@pytest.mark.parametrize("embedding", [None, [{"backbone": "toy", "weights": "none"}], [{"vectors": "vectors.npz"}]])
def test_changed_decoding_checks_the_images_that_are_trained_on(home: Path, embedding: Any) -> None:
    ids = [*make_images(home / "images", n_each=6), "dark/large.png"]
    Image.new("RGB", (40, 40), "red").save(home / "images" / "dark" / "large.png")
    np.savez("vectors.npz", ids=np.array(ids), x=np.random.default_rng(0).normal(size=(len(ids), 4)))
    sections: dict[str, Any] = {"embedding": embedding, "head": None, "split": {"test": 0, "val": 0.3}}
    Path("featx.toml").write_text(toy_recipe(**sections))
    assert extract().n_unreadable == 0
    for max_bytes in (1 << 20, 2000):
        recipe = toy_recipe(**sections, finetune=[NETWORK], decoding={"max_bytes": max_bytes})
        Path("featx.toml").write_text(recipe)
        # Outcomes stay as they are when nothing changes.
        for _ in range(2):
            assert extract().n_unreadable == (max_bytes == 2000)

    outcomes = Study.open(None).outcomes
    assert outcomes.loc[outcomes["outcome"] == "unreadable", "id"].tolist() == ["dark/large.png"]
    assert len(finetune()) == 1


def test_unchanged_images_are_checked_once(home: Path) -> None:
    make_images(home / "images", n_each=6)
    Path("featx.toml").write_text(toy_recipe(embedding=None, head=None, finetune=[NETWORK]))
    stages: list[str] = []

    for _ in range(2):
        extract(progress=lambda stage, *_: stages.append(stage))

    assert stages.count("check images") == 12
