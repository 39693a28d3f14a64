"""The distance of two tables of vectors, against numbers worked out by hand and distances drawn from a known spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.embeddings.drift import drift, worst_drift

N_RARE = 30_000  # of as many images the worst one is expected


def table(seed: int, n: int = 64, d: int = 12) -> np.ndarray:
    """Make (n, d) vectors, none of which is zero."""
    return np.random.default_rng(seed).normal(1, 1, (n, d)).astype(np.float32)


def turned(x: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    """Return vectors whose cosine with those of `x` is 1 - distance, each turned towards a random side."""
    rng = np.random.default_rng(seed)
    a = x.astype(np.float64)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    side = rng.normal(size=a.shape)
    side -= (side * a).sum(axis=1, keepdims=True) * a
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    cosine = (1 - distances)[:, None]
    return cosine * a + np.sqrt(1 - cosine**2) * side


def test_the_figures_are_those_worked_out_by_hand() -> None:
    x = np.array([[3, 4], [1, 0], [0, 2]], dtype=np.float32)
    y = np.array([[3, 4], [1, 1], [0, 1]], dtype=np.float32)

    found = drift(x, y)

    assert found.n_images == 3
    assert found.cosine == pytest.approx(np.sqrt(0.5))  # of (1, 0) and (1, 1)
    assert found.median_cosine == pytest.approx(1)
    assert found.relative_error == pytest.approx(1)  # |(0, -1)| / |(1, 0)|, the others' are 0 and 1/2
    # columns (3, 1, 0) and (4, 0, 2): variances 14/9 and 8/3; errors (0, 0, 0) and (0, 1, -1): root mean square √(2/3)
    assert found.worst_dimension == 1
    assert found.worst_dimension_error == pytest.approx(np.sqrt(2 / 3) / ((np.sqrt(14 / 9) + np.sqrt(8 / 3)) / 2))


def test_what_is_expected_of_the_worst_lies_four_deviations_of_the_logarithm_above_its_mean() -> None:
    x = table(0, n=2)
    distances = np.array([1e-4, 1e-2])

    found = drift(x, turned(x, distances, seed=1))

    assert found.expected_cosine == pytest.approx(1 - 10 ** (-3 + 4 * 1))  # log10: mean -3, deviation 1
    assert found.cosine == pytest.approx(0.99, abs=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), scale=st.sampled_from([1e-3, 1, 1e15]))
def test_equal_tables_do_not_differ(seed: int, n: int, scale: float) -> None:
    x = table(seed, n) * np.float32(scale)

    found = drift(x, x.copy())

    assert [found.cosine, found.median_cosine, found.expected_cosine] == pytest.approx([1, 1, 1], abs=1e-11)
    assert (found.relative_error, found.worst_dimension_error) == (0, 0)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), column=st.integers(0, 11))
def test_the_column_that_is_disturbed_is_found(seed: int, column: int) -> None:
    x = table(seed)
    y = x.copy()
    y[:, column] += 0.5
    y += np.random.default_rng(seed).normal(0, 1e-3, y.shape).astype(np.float32)

    found = drift(x, y)

    assert found.worst_dimension == column
    assert found.worst_dimension_error == pytest.approx(0.5 / x.astype(np.float64).std(axis=0).mean(), rel=1e-2)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.25, 4.0]))
def test_a_cosine_knows_no_length_and_the_relative_error_does(seed: int, factor: float) -> None:
    x = table(seed)

    found = drift(x, x * np.float32(factor))

    assert (found.cosine, found.relative_error) == pytest.approx((1, abs(factor - 1)))


@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_few_images_foretell_the_worst_of_many(spread: float, seed: int) -> None:
    rng = np.random.default_rng([seed, int(10 * spread)])
    many = np.exp(rng.normal(np.log(1e-4), spread, N_RARE))

    found = drift(x := table(seed, n=256, d=64), turned(x, many[:256], seed))

    off = np.log((1 - found.expected_cosine) / many.max()) / spread  # in standard deviations
    assert off >= -1.25  # it never promises much more than what comes
    assert off <= 1.25  # nor so little that nothing would ever be trusted
    assert found.expected_cosine <= found.cosine


@pytest.mark.parametrize("zero", ["x", "y", "both"])
def test_vectors_of_zeros_have_figures_as_well(zero: str) -> None:
    tables = {"x": table(0), "y": table(0)}
    for name in ("x", "y") if zero == "both" else (zero,):
        tables[name][3] = 0

    found = drift(tables["x"], tables["y"])

    assert np.isfinite([*found.model_dump().values()]).all()
    assert found.cosine == pytest.approx(1 if zero == "both" else 0)


def test_tables_of_nothing_but_zeros_do_not_fail() -> None:
    nothing = np.zeros((4, 3), dtype=np.float32)

    assert np.isfinite([*drift(nothing, nothing).model_dump().values()]).all()


def test_a_drift_says_its_figures_in_one_line() -> None:
    x = table(0)
    y = x.copy()
    y[:, 5] *= 1.1

    said = str(drift(x, y))

    assert "\n" not in said
    assert said.startswith("compared with fp32 on 64 images: lowest cosine 0.99")
    assert ", median cosine 0.99" in said
    assert said.endswith("(feature 5)")


def test_images_without_finite_vectors_in_fp32_are_left_out_and_the_worst_tap_speaks() -> None:
    x = table(0)
    lost, near = x.copy(), x + np.float32(1e-3)
    lost[0] = np.inf

    found = worst_drift([lost, x], [lost, near])

    assert found is not None
    assert found == drift(x[1:], near[1:])
    assert worst_drift([np.full_like(x, np.nan)], [x]) is None


def test_vectors_that_are_finite_in_fp32_only_have_nothing_in_common() -> None:
    x = table(0)
    overflown = x.copy()
    overflown[5] = np.nan

    assert drift(x, overflown).cosine == 0
