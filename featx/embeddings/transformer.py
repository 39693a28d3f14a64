"""Embeddings for other people's Pipelines: a scikit-learn transformer over featx's engine and cache."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

from featx.embeddings.fill import fill, plans_for
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.workers import Place
from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.contents import State, digest, file_uri
from featx.images.decode import CHANNELS, from_image
from featx.images.digests import DigestCache, Identity, identified
from featx.locations import is_url
from featx.progress import no_progress
from featx.specs.embedding import Decoding, EmbeddingRequest
from featx.specs.extraction import EngineSpec
from featx.specs.recipe import EmbeddingSection, checked_spec
from featx.study.folders import cache_place

KEPT_NETWORKS = 4


class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn images into embeddings of a frozen network.

    There is nothing to learn: `fit` checks the settings and builds the network. What was embedded once, by any
    embedder, recipe or process, is read from the cache; clones and copies in one process share the network.

    Parameters
    ----------
    backbone, weights, tap, pool, size_px, resize, crop_share, interpolation, mean, std, views, join,
    dtype
        As in a recipe's ``[[embedding]]`` (`featx.specs.EmbeddingRequest`).
    precision
        ``fp32``, ``bf16`` or ``fp16``. There is no ``auto``: the folds of a cross-validation must not differ in it.
    cache
        The folder or URL of stores; by default ``$FEATX_CACHE``, else ``cache``.
    device, runtime, workers, batch_size
        As in a recipe's ``[extraction]`` (`featx.specs.EngineSpec`).
    on_error
        What an image that cannot be read means: ``raise``, or a row of ``nan``.

    Attributes
    ----------
    n_features_out_
        d.

    Examples
    --------
    ``make_pipeline(ImageEmbedder(), LogisticRegression()).fit(paths, labels)``
    """

    def __init__(  # noqa: PLR0913 (scikit-learn's way: each setting is a parameter)
        self,
        backbone: str = "efficientnet_lite0",
        *,
        weights: str = "default",
        tap: str = "last",
        pool: str = "avg",
        size_px: int | None = None,
        resize: str | None = None,
        crop_share: float | None = None,
        interpolation: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        views: str = "one",
        join: str = "mean",
        dtype: str = "float32",
        precision: str = "fp32",
        cache: str | Path | None = None,
        device: str = "auto",
        runtime: str = "auto",
        workers: int | None = None,
        batch_size: int = 16,
        on_error: Literal["raise", "nan"] = "raise",
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.tap = tap
        self.pool = pool
        self.size_px = size_px
        self.resize = resize
        self.crop_share = crop_share
        self.interpolation = interpolation
        self.mean = mean
        self.std = std
        self.views = views
        self.join = join
        self.dtype = dtype
        self.precision = precision
        self.cache = cache
        self.device = device
        self.runtime = runtime
        self.workers = workers
        self.batch_size = batch_size
        self.on_error = on_error

    def fit(self, X: Any, y: object = None) -> Self:
        """Check the settings and build the network.

        Parameters
        ----------
        X
            n images; see `transform`.

        Raises
        ------
        RecipeError, UnknownNameError, WeightsError, DeviceError
            a setting is wrong, or the network cannot be had.
        """
        self._engine()
        self.n_features_out_ = _network_for(self._request()).resolved.n_features[0]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the images' embeddings.

        Parameters
        ----------
        X
            n images, each a path or URL, a PIL image, or an array (h, w), (h, w, channels) or (channels, h, w).

        Returns
        -------
        numpy.ndarray
            (n, d) float32.

        Raises
        ------
        DataError
            an image cannot be read and `on_error` is ``raise``, or is none of these.
        """
        request, engine, cache = self._request(), self._engine(), cache_place(self.cache)
        places, identities = _looked_at(X, cache.notes)
        uris: dict[str, Place] = {}
        for place, identity in zip(places, identities, strict=True):
            if identity.digest:
                uris.setdefault(identity.digest, place)
        chooser = _ChooserForAll(cache, engine, uris, no_progress)
        (plan,) = plans_for([_network_for(request)], chooser)
        failed = fill([plan], uris, chooser, no_progress).failed if uris else {}
        reasons = [failed.get(one.digest, "") if one.digest else one.reason for one in identities]
        if self.on_error == "raise" and any(reasons):
            _complain(places, reasons)
        good = np.array([not reason for reason in reasons], dtype=bool)
        x = np.full((len(places), plan.locked[0].n_features), np.nan, dtype=np.float32)
        if good.any():
            x[good] = plan.stores[0].read([identities[at].digest for at in np.flatnonzero(good)])
        return x

    def _request(self) -> EmbeddingRequest:
        if self.precision == "auto":
            raise DataError("precision: found 'auto', expected 'fp32', 'bf16' or 'fp16': folds must not differ in it")
        asked = {name: getattr(self, name) for name in EmbeddingRequest.model_fields if name != "decoding"}
        checked_spec(EmbeddingSection, type(self).__name__, **asked)  # knows the names of backbones
        request = checked_spec(EmbeddingRequest, type(self).__name__, **asked)
        if not request.has_own_weights:
            return request
        return request.model_copy(update={"weights": str(Path(request.weights).absolute())})

    def _engine(self) -> EngineSpec:
        if self.on_error not in {"raise", "nan"}:
            raise DataError(f"on_error: found {self.on_error!r}, expected 'raise' or 'nan'")
        asked = {name: getattr(self, name) for name in ("device", "runtime", "workers", "batch_size")}
        return checked_spec(EngineSpec, type(self).__name__, **asked)

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self) -> Tags:
        """Say to scikit-learn that images go in, and that nothing is learnt."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class _ChooserForAll(RuntimeSelector):
    """Chooses one way to compute in a precision for all calls: the folds of a cross-validation have other images."""

    by_images = False


def _network_for(request: EmbeddingRequest) -> NetworkGroup:
    """Return the network for a request, one for all embedders of this process while its weights' file stays."""
    return _network(request, file_state(request.weights))


@lru_cache(KEPT_NETWORKS)
def _network(request: EmbeddingRequest, _weights: tuple[str, int, int] | None) -> NetworkGroup:
    return NetworkGroup((request,))


def _looked_at(images: Any, notes: Path) -> tuple[list[Place], list[Identity]]:
    """Return each image as workers take it, and its digest, or why it has none.

    Files whose size and time are known are not read.
    """
    found = [_place(image, number) for number, image in enumerate(_listed(images))]
    places = [one if not isinstance(one, Identity) else "" for one in found]
    paths = [one for one in found if isinstance(one, str)]
    with (
        DigestCache(notes / "digests.sqlite") as known,
        closing(identified(paths, [_state(path) for path in paths], known)) as answers,
    ):
        return places, [_identity(one, answers) for one in found]


def _identity(found: Place | Identity, answers: Iterator[tuple[Identity, bool]]) -> Identity:
    if isinstance(found, Identity):
        return found
    return next(answers)[0] if isinstance(found, str) else Identity(digest(found))


def _listed(images: Any) -> Iterable[Any]:
    """Refuse what is one image, or no list of them."""
    if hasattr(images, "columns"):  # a table
        if len(images.columns) != 1:
            raise DataError(f"expected a table with one column of images, found {len(images.columns)} columns")
        return list(images.iloc[:, 0])
    one = isinstance(images, str | Path | Image.Image)
    if isinstance(images, np.ndarray) and images.dtype != object:
        one = images.ndim == 2 or (images.ndim == 3 and images.shape[2] in CHANNELS)
    if one or not isinstance(images, Iterable):
        raise DataError(f"expected a list of images, found one {type(images).__name__}; put it into a list")
    return images


def _place(image: Any, number: int) -> Place | Identity:
    """Return a uri or pixels, or why there are none."""
    if isinstance(image, str) and is_url(image):
        return image
    if isinstance(image, str | Path):
        return file_uri(str(Path(image).absolute()))
    if isinstance(image, Image.Image):
        try:
            return np.asarray(from_image(image, Decoding()))
        except ReadError as error:
            return Identity(outcome="unreadable", reason=str(error))
    if isinstance(image, np.ndarray) and image.ndim >= 2:
        return image
    raise DataError(
        f"image {number} is {type(image).__name__}, expected a path, a PIL image or an array (h, w[, channels])"
    )


def _state(path: str) -> State | None:
    found = file_state(path)
    return found and found[1:]


def _complain(places: Sequence[Place], reasons: Sequence[str]) -> None:
    bad = [at for at, reason in enumerate(reasons) if reason]
    first = places[bad[0]]
    name = repr(first) if isinstance(first, str) and first else f"image {bad[0]}"
    raise DataError(
        f"{len(bad)} of {len(places)} images have no embedding, first {name}: {reasons[bad[0]]}; leave them out, or "
        "say on_error='nan'"
    )
