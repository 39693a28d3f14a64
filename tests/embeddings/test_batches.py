"""From files to batches: in order, each file once, failures named and nothing shifted."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.embeddings.batches import AHEAD, Batch, Failure, Pixels, batched, decoded
from featx.images.decode import preprocessor
from featx.images.digests import digest
from featx.specs import Preprocessing

HALF = (0.5, 0.5, 0.5)
FIT = preprocessor(Preprocessing(size_px=8, mean=HALF, std=HALF))


def grey(level: int) -> Pixels:
    return np.full((2, 2, 3), level, dtype=np.uint8)


def written(folder: Path, n: int) -> list[tuple[str, str]]:
    """Write n grey pictures, each of its own level; return (digest, path) of each."""
    todo = []
    for level in range(n):
        file = folder / f"{level}.png"
        Image.new("RGB", (9, 7), (level, level, level)).save(file)
        todo.append((digest(file.read_bytes()), str(file)))
    return todo


@settings(deadline=None)
@given(kinds=st.lists(st.booleans(), max_size=40), rows=st.integers(1, 9))
def test_batches_hold_every_image_once_in_order_and_are_padded_to_one_shape(kinds: list[bool], rows: int) -> None:
    images = [(f"{at}", grey(at + 1)) if good else Failure(f"{at}", "broken") for at, good in enumerate(kinds)]
    failures: list[Failure] = []

    batches = list(batched(images, rows, failures.append))

    good = [at for at, fine in enumerate(kinds) if fine]
    assert [name for batch in batches for name in batch.digests] == [str(at) for at in good]
    levels = [int(batch.pixels[row, 0, 0, 0]) for batch in batches for row in range(len(batch.digests))]
    assert levels == [at + 1 for at in good]
    assert all(batch.pixels.shape == (rows, 2, 2, 3) for batch in batches)
    assert all(not batch.pixels[len(batch.digests) :].any() for batch in batches)
    assert len(batches) == -(-len(good) // rows)
    assert [failure.digest for failure in failures] == [str(at) for at, fine in enumerate(kinds) if not fine]


def test_an_earlier_batch_is_not_changed_by_a_later_one() -> None:
    first, second = batched([("a", grey(1)), ("b", grey(2))], 1, lambda _: None)

    assert (first.digests, first.pixels.max()) == (("a",), 1)
    assert (second.digests, second.pixels.max()) == (("b",), 2)


def test_files_are_decoded_in_their_order(tmp_path: Path) -> None:
    todo = written(tmp_path, AHEAD + 20)

    found = list(decoded(todo, FIT))

    assert [one[0] for one in found if not isinstance(one, Failure)] == [name for name, _ in todo]
    assert [int(one[1].min()) for one in found if not isinstance(one, Failure)] == list(range(AHEAD + 20))


def test_each_broken_file_is_a_failure_in_its_place(tmp_path: Path) -> None:
    todo = written(tmp_path, 5)
    Path(todo[1][1]).unlink()
    Path(todo[2][1]).write_bytes(b"other bytes than were listed")
    note = tmp_path / "note.png"
    note.write_text("no picture")
    todo[3] = (digest(note.read_bytes()), str(note))

    found = list(decoded(todo, FIT))

    assert [one.reason if isinstance(one, Failure) else "" for one in found] == [
        "",
        "was removed while it was being read",
        "changed while it was being read",
        "is not an image of a known format",
        "",
    ]
    assert [one.digest if isinstance(one, Failure) else one[0] for one in found] == [name for name, _ in todo]


def test_a_picture_cut_short_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "noise.jpg"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:800])

    (found,) = decoded([(digest(file.read_bytes()), str(file))], FIT)

    assert isinstance(found, Failure)
    assert found.reason.startswith("cannot be decoded: ")


def test_work_that_is_not_asked_for_stops(tmp_path: Path) -> None:
    images = decoded(written(tmp_path, 5) * 100, FIT)

    first = list(islice(images, 3))
    images.close()  # type: ignore[attr-defined]

    assert len(first) == 3
    with pytest.raises(StopIteration):
        next(images)


def test_nothing_to_do_gives_no_batch() -> None:
    assert list(batched(decoded([], FIT), 4, lambda _: None)) == []


def test_a_batch_knows_how_many_images_it_holds() -> None:
    (batch,) = batched([("a", grey(1))], 3, lambda _: None)

    assert isinstance(batch, Batch)
    assert (len(batch.digests), len(batch.pixels)) == (1, 3)
