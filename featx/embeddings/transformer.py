"""A scikit-learn transformer that turns images into cached embeddings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from featx.embeddings.workers import ImageSource
from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.contents import FileState, digest, file_uri
from featx.images.decode import USUAL_CHANNELS, convert_image
from featx.images.digests import DigestCache, ImageIdentity, identify_with_cache
from featx.locations import is_url
from featx.progress import no_progress
from featx.specs.embedding import Decoding, EmbeddingRequest
from featx.specs.extraction import EngineSpec
from featx.specs.sections import EmbeddingSection
from featx.specs.validation import build_spec
from featx.study.folders import cache_place

# Networks of one process that are held in memory.
MAX_CACHED_NETWORKS = 4
# Fields of a request that are no parameters of the embedder under their own names.
OWN_FIELDS = frozenset({"decoding", "vectors"})


class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn images into embeddings of a frozen network.

    Nothing is learnt: `fit` checks the settings and builds the network. Images that were embedded before, by any
    embedder, recipe or process, are read from the cache; clones and copies in one process share the network.

    Parameters
    ----------
    backbone, weights, tap, pool, size_px, resize, crop_share, interpolation, mean, std, views, join, dtype
        Settings of a recipe's ``[[embedding]]`` (`featx.specs.EmbeddingRequest`).
    decoding
        Settings of a recipe's ``[decoding]`` (`featx.specs.embedding.Decoding`); None takes the defaults.
    precision
        ``fp32``, ``bf16`` or ``fp16``. There is no ``auto``, since all folds of a cross-validation must use the same
        precision.
    cache
        Folder or URL of the stores; by default ``$FEATX_CACHE``, else ``cache/`` in the project folder of the working
        directory.
    device, runtime, workers, batch_size
        Settings of a recipe's ``[extraction]`` (`featx.specs.EngineSpec`).
    on_error
        Treatment of an image that cannot be read: ``raise`` an error, or return a row of ``nan``.

    Attributes
    ----------
    n_features_out_
        Number of features d.

    Examples
    --------
    ``make_pipeline(ImageEmbedder(), LogisticRegression()).fit(paths, labels)``
    """

    def __init__(  # noqa: PLR0913 (scikit-learn wants each setting as a parameter)
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
        decoding: Mapping[str, Any] | None = None,
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
        self.decoding = decoding
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
            n images in one of the forms that `transform` takes.
        y
            Ignored.

        Raises
        ------
        RecipeError, UnknownNameError, WeightsError, DeviceError
            a setting is wrong, or the network cannot be built.
        """
        self._engine()
        self.n_features_out_ = _network_for(self._request()).resolved.n_features[0]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the embeddings of n images.

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
            an image cannot be read and `on_error` is ``raise``, or an image has none of the forms above.
        """
        request, engine, cache = self._request(), self._engine(), cache_place(self.cache)
        places, identities = _identify(X, request.decoding, cache.local_folder)
        uris: dict[str, ImageSource] = {}
        for place, identity in zip(places, identities, strict=True):
            if identity.digest:
                uris.setdefault(identity.digest, place)
        selector = _SelectorForAllCalls(cache, engine, uris, no_progress)
        (plan,) = plans_for([_network_for(request)], selector)
        failure_reasons = fill([plan], uris, selector, no_progress).failed if uris else {}
        reasons = [
            failure_reasons.get(identity.digest, "") if identity.digest else identity.reason for identity in identities
        ]
        if self.on_error == "raise" and any(reasons):
            _raise_unreadable(places, reasons)
        readable_rows = [row for row, reason in enumerate(reasons) if not reason]
        x = np.full((len(places), plan.locked[0].n_features), np.nan, dtype=np.float32)
        if readable_rows:
            x[readable_rows] = plan.stores[0].read([identities[row].digest for row in readable_rows])
        return x

    def _request(self) -> EmbeddingRequest:
        if self.precision == "auto":
            raise DataError(
                "precision: found 'auto', expected 'fp32', 'bf16' or 'fp16': all folds must use the same precision"
            )
        settings = {name: getattr(self, name) for name in EmbeddingRequest.model_fields if name not in OWN_FIELDS}
        # Only the section of a recipe checks the names of backbones.
        build_spec(EmbeddingSection, type(self).__name__, **settings)
        decoding = build_spec(Decoding, f"{type(self).__name__}.decoding", **(self.decoding or {}))
        request = build_spec(EmbeddingRequest, type(self).__name__, decoding=decoding, **settings)
        if not request.has_own_weights:
            return request
        return request.model_copy(update={"weights": str(Path(request.weights).absolute())})

    def _engine(self) -> EngineSpec:
        if self.on_error not in {"raise", "nan"}:
            raise DataError(f"on_error: found {self.on_error!r}, expected 'raise' or 'nan'")
        settings = {name: getattr(self, name) for name in ("device", "runtime", "workers", "batch_size")}
        return build_spec(EngineSpec, type(self).__name__, **settings)

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self) -> Tags:
        """Return the tags that state to scikit-learn that inputs are images, and that nothing is learnt."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class _SelectorForAllCalls(RuntimeSelector):
    """Chooses one precision for all calls, since the folds of a cross-validation have different images."""

    by_images = False


def _network_for(request: EmbeddingRequest) -> NetworkGroup:
    """Return the network for a request, the same one for all embedders of this process until its weights change."""
    return _network(request, file_state(request.weights))


@lru_cache(MAX_CACHED_NETWORKS)
def _network(request: EmbeddingRequest, _weights: tuple[str, int, int] | None) -> NetworkGroup:
    return NetworkGroup((request,))


def _identify(images: Any, decoding: Decoding, notes: Path) -> tuple[list[ImageSource], list[ImageIdentity]]:
    """Return the place of each image, empty where it has none, and its digest or the reason why it has none.

    Files with the size and time of a cached digest are not read.
    """
    checked_places = [_place(image, number, decoding) for number, image in enumerate(_check_list(images))]
    places = [place if not isinstance(place, ImageIdentity) else "" for place in checked_places]
    paths = [place for place in checked_places if isinstance(place, str)]
    with (
        DigestCache(notes / "digests.sqlite") as digests,
        closing(identify_with_cache(paths, [_state(path) for path in paths], digests)) as identities,
    ):
        return places, [_identity(place, identities) for place in checked_places]


def _identity(place: ImageSource | ImageIdentity, identities: Iterator[tuple[ImageIdentity, bool]]) -> ImageIdentity:
    """Return the identity of a place; that of a path is the next one of `identities`."""
    if isinstance(place, ImageIdentity):
        return place
    return next(identities)[0] if isinstance(place, str) else ImageIdentity(digest(place))


def _check_list(images: Any) -> Iterable[Any]:
    """Return the images one by one, and refuse a single image or a table with several columns."""
    if hasattr(images, "columns"):
        if len(images.columns) != 1:
            raise DataError(f"expected a table with one column of images, found {len(images.columns)} columns")
        return list(images.iloc[:, 0])
    is_single = isinstance(images, str | Path | Image.Image)
    if isinstance(images, np.ndarray) and images.dtype != object:
        is_single = images.ndim == 2 or (images.ndim == 3 and images.shape[2] in USUAL_CHANNELS)
    if is_single or not isinstance(images, Iterable):
        raise DataError(f"expected a list of images, found a single {type(images).__name__}; put it into a list")
    return images


def _place(image: Any, number: int, decoding: Decoding) -> ImageSource | ImageIdentity:
    """Return the URI or the pixels of an image, or the reason why it has none."""
    if isinstance(image, str) and is_url(image):
        return image
    if isinstance(image, str | Path):
        return file_uri(str(Path(image).absolute()))
    if isinstance(image, Image.Image):
        try:
            # Channels are chosen later, from the pixels of the array.
            return np.asarray(image if decoding.bands else convert_image(image, decoding))
        except ReadError as error:
            return ImageIdentity(outcome="unreadable", reason=str(error))
    if isinstance(image, np.ndarray) and image.ndim >= 2:
        return image
    raise DataError(
        f"image {number} is {type(image).__name__}, expected a path, a PIL image or an array (h, w[, channels])"
    )


def _state(path: str) -> FileState | None:
    state = file_state(path)
    return state and state[1:]


def _raise_unreadable(places: Sequence[ImageSource], reasons: Sequence[str]) -> None:
    unreadable_rows = [row for row, reason in enumerate(reasons) if reason]
    first_row = unreadable_rows[0]
    place = places[first_row]
    name = repr(place) if isinstance(place, str) and place else f"image {first_row}"
    raise DataError(
        f"{len(unreadable_rows)} of {len(places)} images have no embedding, first {name}: {reasons[first_row]}; leave "
        "them out, or set on_error='nan'"
    )
