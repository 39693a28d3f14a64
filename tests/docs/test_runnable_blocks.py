"""Python code of the documentation that needs no study runs as it is printed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.model_selection import train_test_split

from tests.docs.markdown_pages import PAGES


def run_block(page: str, marker: str, replaced: tuple[str, str] = ("", ""), **names: Any) -> dict[str, Any]:
    """Run the block with a marker, a text in it replaced, and return all names that are defined afterwards."""
    (block,) = (block for block in PAGES[page].blocks if block.marker == marker)
    exec(compile(block.code.replace(*replaced), str(block), "exec"), names)
    return names


def test_the_combiner_of_the_page_leaves_out_the_extremes() -> None:
    names = run_block("docs/ensembles.md", "combiner")
    outputs = np.array([[[0.0]], [[4.0]], [[6.0]], [[100.0]]])
    combined = names["Trimmed"]().outputs(SimpleNamespace(outputs=outputs))
    np.testing.assert_allclose(combined, [[5.0]])
    assert names["trimmed"].kinds == ("numbers",)


@pytest.mark.parametrize(
    ("marker", "sizes"), [("split by hand", (80, 10, 10)), ("split by hand, stratified", (60, 20, 20))]
)
def test_splits_by_hand_have_the_sizes_of_their_recipes(marker: str, sizes: tuple[int, int, int]) -> None:
    table = pd.DataFrame({"class": ["a", "b"] * 50})
    names = run_block("docs/splits.md", marker, train_test_split=train_test_split, table=table)
    assert tuple(len(names[part]) for part in ("train", "val", "test")) == sizes


def test_a_split_by_code_has_one_site_for_test() -> None:
    labels = pd.DataFrame({"site": ["a", "a", "b", "c"]}, index=["1.png", "2.png", "3.png", "4.png"])
    parts = run_block("docs/splits.md", "split by code")["by_site"](labels, 0)
    assert set(parts) == {"train", "test"}
    assert len(set(labels["site"][parts == "test"])) == 1


def test_segments_of_a_store_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = zarr.create_group(tmp_path / "store.zarr").create_group("segment-0")
    group.create_array("x", data=np.zeros((3, 8), dtype=np.float32))
    group.create_array("digest", data=np.zeros((3, 16), dtype=np.uint8))
    run_block("cache/README.md", "segments", ("cache/efficientnet_lite0-….zarr", str(tmp_path / "store.zarr")))
    assert capsys.readouterr().out == "segment-0 (3, 8) (3, 16)\n"
