"""An extraction that is killed at any moment loses no stored rows."""

from pathlib import Path

from tests.conftest import TOY_RECIPE, make_images
from tests.storage.killing import check_killed_extractions

SEGMENT_ROWS = 16


def test_an_extraction_killed_five_times_gives_the_same_rows(home: Path) -> None:
    n_images = len(make_images(home / "images", n_each=120))
    engine = f'\n[extraction]\nruntime = "torch"\nworkers = 1\nsegment_rows = {SEGMENT_ROWS}\n'
    (home / "featx.toml").write_text(TOY_RECIPE + engine)
    counts = check_killed_extractions(home, 5, n_images, SEGMENT_ROWS)
    print(counts)
    assert counts.n_kills == 5
