"""Decoding in other processes: in order, each image once, failures named in their places."""

import io
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.embeddings.workers import CHUNKS_PER_WORKER, Decoder
from featx.images.contents import digest
from featx.images.decode import Pixels
from featx.specs.embedding import Decoding, Preprocessing
from tests.workers import CHUNK, decoded

HALF = (0.5, 0.5, 0.5)
SMALL, LARGE = (Preprocessing(size_px=side, mean=HALF, std=HALF) for side in (8, 12))
DECODER = Decoder(Decoding(), (SMALL,))


def written(folder: Path, n: int) -> list[tuple[str, str]]:
    """Write n grey pictures, each of its own level; return (digest, path) of each."""
    todo = []
    for level in range(n):
        file = folder / f"{level}.png"
        Image.new("RGB", (9, 7), (level, level, level)).save(file)
        todo.append((digest(file.read_bytes()), str(file)))
    return todo


def pixels(found: tuple[Pixels, ...] | str) -> Pixels:
    """Return the pixels of an image that has them, at the first size."""
    assert not isinstance(found, str), found
    return found[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_files_are_decoded_in_their_order(workers: int, tmp_path: Path) -> None:
    n = CHUNK * (CHUNKS_PER_WORKER + 2) * workers + 3
    todo = written(tmp_path, n)

    found = list(decoded(todo, DECODER, workers))

    assert [name for name, _ in found] == [name for name, _ in todo]
    assert [int(pixels(one).min()) for _, one in found] == list(range(n))


def test_each_broken_file_is_a_failure_in_its_place(tmp_path: Path) -> None:
    todo = written(tmp_path, 6)
    Path(todo[1][1]).unlink()
    Path(todo[2][1]).write_bytes(b"other bytes than were listed")
    note = tmp_path / "note.png"
    note.write_text("no picture")
    todo[3] = (digest(note.read_bytes()), str(note))
    Path(todo[4][1]).write_bytes(b"")

    found = list(decoded(todo, DECODER, 1))

    assert [one if isinstance(one, str) else "" for _, one in found] == [
        "",
        "was removed while it was being read",
        "changed while it was being read",
        "is not an image of a known format",
        "is empty",
        "",
    ]
    assert [name for name, _ in found] == [name for name, _ in todo]


def test_a_picture_cut_short_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "noise.jpg"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:800])

    ((_, found),) = decoded([(digest(file.read_bytes()), str(file))], DECODER, 1)

    assert isinstance(found, str)
    assert found.startswith("cannot be decoded: ")


def test_bytes_and_arrays_are_decoded_as_files_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    places = [str(tmp_path / "a.png"), stream.getvalue(), values]
    digests = [digest(stream.getvalue())] * 2 + [digest(values)]

    found = [pixels(one) for _, one in decoded(zip(digests, places, strict=True), DECODER, 1)]

    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_one_decoding_serves_several_sizes(tmp_path: Path) -> None:
    todo = written(tmp_path, 2)
    both = list(decoded(todo, Decoder(Decoding(), (SMALL, LARGE)), 1))
    each = [list(decoded(todo, Decoder(Decoding(), (size,)), 1)) for size in (SMALL, LARGE)]

    for at, (_, one) in enumerate(both):
        assert not isinstance(one, str)
        assert [x.shape for x in one] == [(8, 8, 3), (12, 12, 3)]
        assert [x.tobytes() for x in one] == [pixels(alone[at][1]).tobytes() for alone in each]


def test_work_that_is_not_asked_for_stops_and_little_is_taken_ahead(tmp_path: Path) -> None:
    todo = written(tmp_path, 5) * 200
    taken = []

    images = decoded((taken.append(one) or one for one in todo), DECODER, 1)  # type: ignore[func-returns-value]
    first = list(islice(images, 3))
    images.close()  # type: ignore[attr-defined]

    assert len(first) == 3
    assert len(taken) <= CHUNK * (CHUNKS_PER_WORKER + 2)
    with pytest.raises(StopIteration, match=r"^$"):
        next(images)


def test_stopping_does_not_wait_for_what_is_left(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png", compress_level=1)
    one = (digest((tmp_path / "large.png").read_bytes()), str(tmp_path / "large.png"))
    small = written(tmp_path, CHUNK)
    images = decoded([*small, *[one] * 2000], DECODER, 1)
    next(images)

    start = time.perf_counter()
    images.close()  # type: ignore[attr-defined]

    assert time.perf_counter() - start < 10


def test_nothing_to_do_gives_nothing() -> None:
    assert list(decoded([], DECODER, 1)) == []
