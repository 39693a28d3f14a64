"""Projections: principal components are those of scikit-learn, and clusters stay together."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from featx.errors import DataError, MissingExtraError
from featx.exploration import projections
from featx.exploration.projections import check_method, principal_components, project


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Return 120 vectors in three clusters."""
    rng = np.random.default_rng(0)
    return (np.repeat(10 * rng.normal(size=(3, 12)), 40, axis=0) + rng.normal(size=(120, 12))).astype(np.float32)


def nearest_share(points: np.ndarray) -> float:
    """Return the share of points whose nearest point belongs to their cluster."""
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((distances.argmin(axis=1) // 40 == np.arange(120) // 40).mean())


def test_principal_components_are_those_of_scikit_learn(clusters: np.ndarray) -> None:
    result = principal_components(clusters, 3)
    expected = PCA(12).fit(clusters)
    assert np.allclose(result.variance_shares, expected.explained_variance_ratio_, atol=1e-4)
    assert np.allclose(np.abs(result.coordinates), np.abs(expected.transform(clusters)[:, :3]), atol=1e-2)


def test_axes_of_an_even_sample_are_applied_to_all_rows(clusters: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    full_projection = principal_components(clusters, 2)
    monkeypatch.setattr(projections, "MAX_ROWS_TO_FIT", 60)
    sample_projection = principal_components(clusters, 2)
    correlations = [
        np.corrcoef(full_projection.coordinates[:, axis], sample_projection.coordinates[:, axis])[0, 1]
        for axis in (0, 1)
    ]
    assert np.abs(correlations).min() > 0.99


def test_equal_vectors_have_no_variance() -> None:
    result = principal_components(np.ones((5, 3)), 2)
    assert (result.variance_shares == 0).all()
    assert (result.coordinates == 0).all()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_clusters_stay_together(clusters: np.ndarray, method: projections.Method) -> None:
    projection = project(principal_components(clusters, 10).coordinates, method)
    assert projection.method == method
    assert projection.n_fitted == 120
    assert nearest_share(projection.points) == 1


def test_further_vectors_are_placed_beside_their_nearest(clusters: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(projections.MAX_PROJECTED, "tsne", 60)
    projection = project(clusters, "tsne")
    assert projection.n_fitted == 60
    assert nearest_share(projection.points) > 0.95


def test_few_vectors_are_projected_by_pca() -> None:
    projection = project(np.arange(8, dtype=np.float32).reshape(4, 2), "tsne")
    assert projection.method == "pca"
    assert project(np.ones((3, 1), dtype=np.float32), "pca").points.tolist() == [[1, 0]] * 3


@pytest.mark.parametrize("spread", [0, 1e-30])
def test_equal_vectors_are_projected_by_pca(spread: float) -> None:
    vectors = np.zeros((20, 3), dtype=np.float32)
    vectors[:, 0] = spread * np.arange(20)
    # t-SNE of vectors without a spread ends the process with a segmentation fault.
    projection = project(vectors, "tsne")
    assert projection.method == "pca"
    assert np.isfinite(projection.points).all()


def test_vectors_of_one_number_are_projected_by_pca() -> None:
    assert project(np.arange(20, dtype=np.float32)[:, None], "tsne").method == "pca"


def test_a_missing_extra_is_named(clusters: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install \"featx\[umap\]\""):
        project(clusters, "umap")


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(DataError, match="there is no projection 'tsnee'; "):
        check_method("tsnee")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_umap_keeps_clusters_together(clusters: np.ndarray) -> None:
    pytest.importorskip("umap")
    assert nearest_share(project(clusters, "umap").points) == 1
