"""The deviation of two tables, compared with calculations by hand and with a known distribution of distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.embeddings.deviation import measure_deviation, worst_deviation

N_RARE = 30_000  # of as many images the worst one is expected


def table(seed: int, n: int = 64, d: int = 12) -> np.ndarray:
    """Make (n, d) vectors, none of which is zero."""
    return np.random.default_rng(seed).normal(1, 1, (n, d)).astype(np.float32)


def rotated(x: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    """Return vectors whose cosine with those of `x` is 1 - distance, each turned towards a random side."""
    rng = np.random.default_rng(seed)
    a = x.astype(np.float64)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    side = rng.normal(size=a.shape)
    side -= (side * a).sum(axis=1, keepdims=True) * a
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    cosine = (1 - distances)[:, None]
    return cosine * a + np.sqrt(1 - cosine**2) * side


def test_the_deviation_equals_a_calculation_by_hand() -> None:
    x = np.array([[3, 4], [1, 0], [0, 2]], dtype=np.float32)
    y = np.array([[3, 4], [1, 1], [0, 1]], dtype=np.float32)

    figures = measure_deviation(x, y)

    assert figures.n_images == 3
    assert figures.cosine == pytest.approx(np.sqrt(0.5))  # of (1, 0) and (1, 1)
    assert figures.median_cosine == pytest.approx(1)
    assert figures.relative_error == pytest.approx(1)  # |(0, -1)| / |(1, 0)|, the others' are 0 and 1/2
    # columns (3, 1, 0) and (4, 0, 2): variances 14/9 and 8/3; errors (0, 0, 0) and (0, 1, -1): root mean square √(2/3)
    assert figures.worst_dimension == 1
    assert figures.worst_dimension_error == pytest.approx(np.sqrt(2 / 3) / ((np.sqrt(14 / 9) + np.sqrt(8 / 3)) / 2))


def test_the_estimate_is_four_deviations_above_the_mean_logarithm() -> None:
    x = table(0, n=2)
    distances = np.array([1e-4, 1e-2])

    figures = measure_deviation(x, rotated(x, distances, seed=1))

    assert figures.estimated_min_cosine == pytest.approx(1 - 10 ** (-3 + 4 * 1))  # log10: mean -3, deviation 1
    assert figures.cosine == pytest.approx(0.99, abs=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), scale=st.sampled_from([1e-3, 1, 1e15]))
def test_equal_tables_have_no_deviation(seed: int, n: int, scale: float) -> None:
    x = table(seed, n) * np.float32(scale)

    figures = measure_deviation(x, x.copy())

    assert [figures.cosine, figures.median_cosine, figures.estimated_min_cosine] == pytest.approx([1, 1, 1], abs=1e-11)
    assert (figures.relative_error, figures.worst_dimension_error) == (0, 0)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), column=st.integers(0, 11))
def test_the_feature_with_the_largest_error_is_named(seed: int, column: int) -> None:
    x = table(seed)
    y = x.copy()
    y[:, column] += 0.5
    y += np.random.default_rng(seed).normal(0, 1e-3, y.shape).astype(np.float32)

    figures = measure_deviation(x, y)

    assert figures.worst_dimension == column
    assert figures.worst_dimension_error == pytest.approx(0.5 / x.astype(np.float64).std(axis=0).mean(), rel=1e-2)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.25, 4.0]))
def test_scaling_changes_the_relative_error_but_not_the_cosine(seed: int, factor: float) -> None:
    x = table(seed)

    figures = measure_deviation(x, x * np.float32(factor))

    assert (figures.cosine, figures.relative_error) == pytest.approx((1, abs(factor - 1)))


@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_is_close_to_the_lowest_cosine_of_many_images(spread: float, seed: int) -> None:
    rng = np.random.default_rng([seed, int(10 * spread)])
    all_distances = np.exp(rng.normal(np.log(1e-4), spread, N_RARE))

    figures = measure_deviation(x := table(seed, n=256, d=64), rotated(x, all_distances[:256], seed))

    error_sd = np.log((1 - figures.estimated_min_cosine) / all_distances.max()) / spread  # in standard deviations
    assert error_sd >= -1.25  # it never promises much more than what comes
    assert error_sd <= 1.25  # nor so little that nothing would ever be trusted
    assert figures.estimated_min_cosine <= figures.cosine


@pytest.mark.parametrize("zero", ["x", "y", "both"])
def test_the_deviation_of_a_zero_vector_is_finite(zero: str) -> None:
    tables = {"x": table(0), "y": table(0)}
    for name in ("x", "y") if zero == "both" else (zero,):
        tables[name][3] = 0

    figures = measure_deviation(tables["x"], tables["y"])

    assert np.isfinite([*figures.model_dump().values()]).all()
    assert figures.cosine == pytest.approx(1 if zero == "both" else 0)


def test_the_deviation_of_zero_tables_is_finite() -> None:
    zeros = np.zeros((4, 3), dtype=np.float32)

    assert np.isfinite([*measure_deviation(zeros, zeros).model_dump().values()]).all()


def test_a_deviation_is_written_in_one_line() -> None:
    x = table(0)
    y = x.copy()
    y[:, 5] *= 1.1

    text = str(measure_deviation(x, y))

    assert "\n" not in text
    assert text.startswith("compared with fp32 on 64 images: lowest cosine 0.99")
    assert ", median cosine 0.99" in text
    assert text.endswith("(feature 5)")


def test_images_that_are_not_finite_in_fp32_are_left_out() -> None:
    x = table(0)
    partly_infinite, close = x.copy(), x + np.float32(1e-3)
    partly_infinite[0] = np.inf

    figures = worst_deviation([partly_infinite, x], [partly_infinite, close])

    assert figures is not None
    assert figures == measure_deviation(x[1:], close[1:])
    assert worst_deviation([np.full_like(x, np.nan)], [x]) is None


def test_vectors_that_are_finite_only_in_fp32_have_cosine_zero() -> None:
    x = table(0)
    overflown = x.copy()
    overflown[5] = np.nan

    assert measure_deviation(x, overflown).cosine == 0
