"""Worker processes decode each image once, in order, and failures have a reason."""

import io
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.embeddings.workers import CHUNKS_PER_WORKER, Decoder
from featx.images.contents import digest
from featx.images.value_ranges import Pixels
from featx.specs.embedding import Decoding, Preprocessing
from tests.workers import CHUNK, decoded

HALF = (0.5, 0.5, 0.5)
SMALL, LARGE = (Preprocessing(size_px=side, mean=HALF, std=HALF) for side in (8, 12))
DECODER = Decoder(Decoding(), (SMALL,))


def write_images(folder: Path, n: int) -> list[tuple[str, str]]:
    """Write n grey pictures, each of its own level; return (digest, path) of each."""
    todo = []
    for level in range(n):
        file = folder / f"{level}.png"
        Image.new("RGB", (9, 7), (level, level, level)).save(file)
        todo.append((digest(file.read_bytes()), str(file)))
    return todo


def pixels(result: tuple[Pixels, ...] | str) -> Pixels:
    """Return the pixels of an image that has them, at the first size."""
    assert not isinstance(result, str), result
    return result[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_files_are_decoded_in_their_order(workers: int, tmp_path: Path) -> None:
    n = CHUNK * (CHUNKS_PER_WORKER + 2) * workers + 3
    todo = write_images(tmp_path, n)

    results = list(decoded(todo, DECODER, workers))

    assert [name for name, _ in results] == [name for name, _ in todo]
    assert [int(pixels(result).min()) for _, result in results] == list(range(n))


def test_each_broken_file_is_a_failure_at_its_position(tmp_path: Path) -> None:
    todo = write_images(tmp_path, 6)
    Path(todo[1][1]).unlink()
    Path(todo[2][1]).write_bytes(b"other bytes than were listed")
    note = tmp_path / "note.png"
    note.write_text("no picture")
    todo[3] = (digest(note.read_bytes()), str(note))
    Path(todo[4][1]).write_bytes(b"")

    results = list(decoded(todo, DECODER, 1))

    assert [result if isinstance(result, str) else "" for _, result in results] == [
        "",
        "was removed while it was being read",
        "changed while it was being read",
        "is not an image of a known format",
        "is empty",
        "",
    ]
    assert [name for name, _ in results] == [name for name, _ in todo]


def test_a_truncated_image_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "noise.jpg"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:800])

    ((_, reason),) = decoded([(digest(file.read_bytes()), str(file))], DECODER, 1)

    assert isinstance(reason, str)
    assert reason.startswith("cannot be decoded: ")


def test_bytes_and_arrays_are_decoded_like_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    places = [str(tmp_path / "a.png"), stream.getvalue(), values]
    digests = [digest(stream.getvalue())] * 2 + [digest(values)]

    results = [pixels(result) for _, result in decoded(zip(digests, places, strict=True), DECODER, 1)]

    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_one_decoding_serves_several_sizes(tmp_path: Path) -> None:
    todo = write_images(tmp_path, 2)
    joint_results = list(decoded(todo, Decoder(Decoding(), (SMALL, LARGE)), 1))
    single_results = [list(decoded(todo, Decoder(Decoding(), (size,)), 1)) for size in (SMALL, LARGE)]

    for number, (_, sizes) in enumerate(joint_results):
        assert not isinstance(sizes, str)
        assert [x.shape for x in sizes] == [(8, 8, 3), (12, 12, 3)]
        assert [x.tobytes() for x in sizes] == [pixels(single[number][1]).tobytes() for single in single_results]


def test_closing_the_generator_stops_reading_images(tmp_path: Path) -> None:
    todo = write_images(tmp_path, 5) * 200
    read_images = []

    images = decoded((read_images.append(image) or image for image in todo), DECODER, 1)  # type: ignore[func-returns-value]
    first = list(islice(images, 3))
    images.close()  # type: ignore[attr-defined]

    assert len(first) == 3
    assert len(read_images) <= CHUNK * (CHUNKS_PER_WORKER + 2)
    with pytest.raises(StopIteration, match=r"^$"):
        next(images)


def test_closing_does_not_wait_for_pending_images(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png", compress_level=1)
    large = (digest((tmp_path / "large.png").read_bytes()), str(tmp_path / "large.png"))
    small = write_images(tmp_path, CHUNK)
    images = decoded([*small, *[large] * 2000], DECODER, 1)
    next(images)

    start = time.perf_counter()
    images.close()  # type: ignore[attr-defined]

    assert time.perf_counter() - start < 10


def test_no_images_give_no_results() -> None:
    assert list(decoded([], DECODER, 1)) == []
