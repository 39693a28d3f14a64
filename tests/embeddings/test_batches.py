"""From decoded images to batches of one shape: in order, each image once, failures named and nothing shifted."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.embeddings.batches import Batch, Failure, batched, finite
from featx.images.decode import Pixels


def grey(level: int) -> tuple[Pixels, ...]:
    """A picture of one level at two sizes."""
    return np.full((2, 2, 3), level, dtype=np.uint8), np.full((4, 4, 3), level, dtype=np.uint8)


@settings(deadline=None)
@given(kinds=st.lists(st.booleans(), max_size=40), rows=st.integers(1, 9))
def test_batches_hold_every_image_once_in_order_and_are_padded_to_one_shape(kinds: list[bool], rows: int) -> None:
    images = [(f"{at}", grey(at + 1) if good else "broken") for at, good in enumerate(kinds)]
    failures: list[Failure] = []

    batches = list(batched(images, rows, failures.append))

    good = [at for at, fine in enumerate(kinds) if fine]
    assert [name for batch in batches for name in batch.digests] == [str(at) for at in good]
    for size, side in enumerate((2, 4)):
        pixels = [batch.pixels[size] for batch in batches]
        levels = [
            int(x[row, 0, 0, 0]) for x, batch in zip(pixels, batches, strict=True) for row in range(len(batch.digests))
        ]
        assert levels == [at + 1 for at in good]
        assert all(x.shape == (rows, side, side, 3) for x in pixels)
        assert all(not x[len(batch.digests) :].any() for x, batch in zip(pixels, batches, strict=True))
    assert len(batches) == -(-len(good) // rows)
    assert failures == [Failure(str(at), "broken") for at, fine in enumerate(kinds) if not fine]


def test_an_earlier_batch_is_not_changed_by_a_later_one() -> None:
    first, second = batched([("a", grey(1)), ("b", grey(2))], 1, lambda _: None)

    assert (first.digests, first.pixels[0].max()) == (("a",), 1)
    assert (second.digests, second.pixels[0].max()) == (("b",), 2)


def test_nothing_to_do_gives_no_batch() -> None:
    assert list(batched([], 4, lambda _: None)) == []
    assert list(batched([("a", "broken")], 4, lambda _: None)) == []


def test_a_batch_knows_how_many_images_it_holds() -> None:
    (batch,) = batched([("a", grey(1))], 3, lambda _: None)

    assert isinstance(batch, Batch)
    assert (len(batch.digests), len(batch.pixels[0])) == (1, 3)


def test_an_image_with_a_value_that_is_not_finite_in_any_column_is_left_out_of_all() -> None:
    one = np.array([[0, 1], [np.nan, 1], [2, 1], [3, 1]], dtype=np.float32)
    other = np.array([[0], [1], [2], [np.inf]], dtype=np.float32)
    failures: list[Failure] = []

    digests, (first, second) = finite(["a", "b", "c", "d"], [one, other], failures.append)

    assert digests == ("a", "c")
    assert first.tolist() == [[0, 1], [2, 1]]
    assert second.tolist() == [[0], [2]]
    assert failures == [Failure(name, "the network gives values that are not finite") for name in ("b", "d")]
