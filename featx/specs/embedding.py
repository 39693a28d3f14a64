"""Specs of embeddings: as requested in a recipe, and resolved to everything that determines the numbers."""

import math
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from featx.specs.base import Spec

Pool = Literal["avg", "max", "avgmax", "gem", "flatten", "cls"]
Resize = Literal["crop", "squash", "border"]
StoredDtype = Literal["float32", "float16"]
Views = Literal["one", "flip", "four-flips", "five-crops"]
# Prefix of a backbone's name that is followed by a section of networks, by a run, or by the path of a run's folder.
CHECKPOINT_PREFIX = "checkpoint:"
Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest"]
Channels = tuple[float, float, float]
# Share of the canvas's side that each of five crops takes, as in torchvision's 224 of 256 pixels.
MAX_FIVE_CROP_SHARE = 0.875
# Backbone in the spec of vectors that were made elsewhere.
EXTERNAL = "external"
VECTOR_SUFFIXES = (".npz", ".h5", ".parquet")


def without_folders(backbone: str) -> str:
    """Return a backbone's name; that of a run without the folders of its path."""
    if not backbone.startswith(CHECKPOINT_PREFIX):
        return backbone
    return CHECKPOINT_PREFIX + PurePath(backbone.removeprefix(CHECKPOINT_PREFIX)).name


class Decoding(Spec):
    """Choices in decoding a file to pixels; `featx.images.decode` implements them.

    Attributes
    ----------
    background
        Colour ``#rrggbb`` behind transparent pixels; default white.
    frame
        Index of the frame or page that is read from animated and multi-page files, from 0.
    value_range
        Values that become black and white in all images of the source, for pixels of more than 8 bits; values outside
        are clipped and reported. By default [0, 65535] for 16 bits without a sign and [0, 1] for floats within it; an
        image of other numbers is unreadable.
    bands
        Positions, from 0, of the channel that becomes grey, or of the three that become red, green and blue. By
        default the channels that the file names; an image with two, four or more channels without names is unreadable.
    reduced
        Whether large JPEGs are decoded at 1/2, 3/8, 1/4 or 1/8 of their size when that is still twice the network's
        input. This is faster and changes the numbers.
    max_bytes
        Maximum size of one decoded image in bytes; a larger image is unreadable. The limit changes no number and is
        not part of the fingerprint.
    """

    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#ffffff"
    frame: Annotated[int, Field(ge=0)] = 0
    value_range: tuple[float, float] | None = None
    bands: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    reduced: bool = False
    max_bytes: Annotated[int, Field(ge=1)] = 1 << 30

    def identity(self) -> dict[str, Any]:
        """Return the fields that change pixel values."""
        return {name: value for name, value in super().identity().items() if name != "max_bytes"}

    @model_validator(mode="after")
    def _check_value_range(self) -> "Decoding":
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"expected value_range = [low, high], found {list(self.value_range)!r}")
        if self.bands is not None and len(self.bands) not in {1, 3}:
            raise ValueError(f"expected bands = [grey] or [red, green, blue], found {list(self.bands)!r}")
        return self


class EmbeddingRequest(Spec):
    """One embedding as requested in a recipe; fields that are None take the value that belongs to the weights.

    Attributes
    ----------
    backbone
        Name listed by ``featx backbones``, ``torchvision:NAME`` or ``timm:NAME``.
    weights
        ``default`` (pretrained), ``none`` (random, seed 0) or a file with a state dict, which may be inside a
        checkpoint and may have another classifier or none.
    tap
        Layer whose output is read: ``last`` (the last one before the classifier's pooling), or any name listed by
        ``featx backbones NAME``.
    pool
        Pooling from (c, h, w) to a vector: ``avg``, ``max``, ``avgmax`` (both concatenated, 2c), ``gem`` (p = 3),
        ``flatten`` (c·h·w), or ``cls``, the class token of a vision transformer.
    size_px, resize, crop_share, interpolation, mean, std
        Preprocessing that overrides the weights' own. ``crop`` takes a central square, whose side is `crop_share` of
        the shorter side. ``squash`` ignores the aspect ratio, and ``border`` pads the image to a square with the colour
        `mean`; both take the whole image unless `crop_share` is given. `mean` and `std` apply to pixels scaled to
        [0, 1].
    precision
        Precision of the arithmetic: ``fp32``; ``bf16`` or ``fp16`` if the vectors stay close enough to those in fp32
        (``min_cosine`` in ``[extraction]``); ``auto`` takes the fastest of these for many images and ``fp32`` for few.
    views
        Views of each image that the network gets: ``one``; ``flip``, also the mirror image; ``four-flips``, also upside
        down, unmirrored and mirrored; or ``five-crops``, the four corners and the centre.
    join
        Combination of the views' vectors: their ``mean``, or concatenated (``stack``).
    dtype
        Type of the stored numbers; ``float16`` takes half the space and keeps 11 bits of each number.
    decoding
        Decoding of files to pixels; a recipe sets it once for all embeddings, in ``[decoding]``.
    vectors
        File of vectors that were made elsewhere (``.npz``, ``.h5`` or ``.parquet`` with ``ids`` and ``x``), instead of
        a network; only `dtype` may be set beside it.
    """

    backbone: str = "efficientnet_lite0"
    weights: str = "default"
    tap: str = "last"
    pool: Pool = "avg"
    size_px: Annotated[int, Field(ge=8, le=4096)] | None = None
    resize: Resize | None = None
    crop_share: Annotated[float, Field(gt=0, le=1)] | None = None
    interpolation: Interpolation | None = None
    mean: Channels | None = None
    std: Channels | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    views: Views = "one"
    join: Literal["mean", "stack"] = "mean"
    dtype: StoredDtype = "float32"
    decoding: Decoding = Decoding()
    vectors: str | None = None

    @property
    def name(self) -> str:
        """Full name, as ``--embedding`` takes it: backbone, tap, pooling and all other fields that are not default.

        For vectors that were made elsewhere the name of their file takes the place of backbone, tap and pooling.
        """
        excluded_fields = {"backbone", "tap", "pool", "decoding", "vectors"}
        fields = self.model_dump(exclude=excluded_fields, exclude_defaults=True, mode="json")
        backbone = without_folders(self.backbone)
        source = f"{backbone}/{self.tap}/{self.pool}" if self.vectors is None else PurePath(self.vectors).name
        return source + "".join(f",{key}={value}" for key, value in fields.items())

    def is_called(self, text: str) -> bool:
        """Return whether `text` is the full name, the backbone, the tap, the pooling, or ``backbone/tap``.

        Vectors that were made elsewhere are also called by the name of their file, with and without its suffix.
        """
        return text in self.names

    @property
    def names(self) -> list[str]:
        """All names of the embedding, in the same order for all embeddings of networks (`is_called`)."""
        if self.vectors is not None:
            return [self.name, PurePath(self.vectors).name, PurePath(self.vectors).stem]
        backbones = [self.backbone, without_folders(self.backbone)]
        return [self.tap, self.pool, *backbones, *(f"{name}/{self.tap}" for name in backbones), self.name]

    @property
    def nickname(self) -> str:
        """Short name, used in names of runs: the tap, or the backbone if the tap is ``last``, or the vectors' file."""
        if self.vectors is not None:
            return PurePath(self.vectors).stem
        return (self.backbone if self.tap == "last" else self.tap).replace(":", "/").rpartition("/")[2]

    @property
    def has_own_weights(self) -> bool:
        """Whether `weights` names a file."""
        return self.weights not in {"default", "none"}

    @property
    def portable(self) -> "EmbeddingRequest":
        """The same request with files and runs named without their folders, which other machines do not have."""
        if self.vectors is not None:
            return self.model_copy(update={"vectors": PurePath(self.vectors).name})
        changes = {"backbone": without_folders(self.backbone)}
        if self.has_own_weights:
            changes["weights"] = PurePath(self.weights).name
        return self.model_copy(update=changes)

    @property
    def network_key(self) -> "EmbeddingRequest":
        """Key that is equal for requests that one network can compute in one pass."""
        return self.model_copy(update={"tap": "last", "pool": "avg", "join": "mean", "dtype": "float32"})


class Preprocessing(Spec):
    """Preprocessing from a decoded image to a network's input; `EmbeddingRequest` describes the fields."""

    size_px: int
    resize: Resize = "crop"
    crop_share: Annotated[float, Field(gt=0)] = 1.0
    interpolation: Interpolation = "bicubic"
    mean: Channels
    std: Channels
    views: Views = "one"

    @property
    def canvas_px(self) -> int:
        """Side in pixels of the square that views are cut from: larger than `size_px` only for ``five-crops``."""
        if self.views != "five-crops":
            return self.size_px
        return round(self.size_px / min(self.crop_share, MAX_FIVE_CROP_SHARE))

    @property
    def canvas_share(self) -> float:
        """Share of an image's shorter side that this square shows; five crops are cut later, where the network runs."""
        return 1.0 if self.views == "five-crops" else self.crop_share

    @property
    def resized_px(self) -> int:
        """Side in whole pixels to which an image is resized before the square is cut: rounded down, as timm does.

        The shorter side gets this length for ``crop``, both sides for ``squash`` and the longer side for ``border``.
        """
        # Floating-point division may put a whole quotient just below its true value; the margin corrects that.
        return math.floor(self.canvas_px / self.canvas_share + 1e-9)


class ReducedPrecision(Spec):
    """Arithmetic in reduced precision, with everything that its rounding depends on.

    Attributes
    ----------
    dtype
        Type of the multiplications; sums are in fp32.
    runtime, device
        Runtime and device that compute; each rounds differently.
    first_layers, first_dtype
        Number of convolutions and matrix products at the beginning, where rounding does most harm, and the more precise
        type that they use.
    """

    dtype: Literal["bf16", "fp16"]
    runtime: Literal["torch", "openvino"]
    device: Literal["cpu", "cuda"]
    first_layers: Annotated[int, Field(ge=0)] = 0
    first_dtype: Literal["fp32", "fp16"] = "fp32"

    def __str__(self) -> str:
        exception = f", its first {self.first_layers} layers {self.first_dtype}" if self.first_layers else ""
        return f"{self.dtype} by {self.runtime} on {self.device}{exception}"


Precision = Literal["fp32"] | ReducedPrecision


class EmbeddingSpec(Spec):
    """Everything that determines the numbers of one embedding; its fingerprint names the store in the cache.

    Attributes
    ----------
    backbone
        Name of the backbone; ``external`` for vectors that were made elsewhere.
    weights_sha256
        SHA-256 of the weights' file; for random weights, of their values; for external vectors, of their file.
    tap
        Full name of the layer (never ``last``).
    decode, decoding
        Version of the decoding in `featx.images.decode` and `featx.images.resizing`, and the choices made in it.
    precision, dtype
        Precision of the arithmetic, and type of the stored numbers.
    join
        Combination of the vectors of the preprocessing's views.
    format
        Version number of the store's format.
    """

    backbone: str
    weights_sha256: str
    tap: str
    pool: Pool
    preprocessing: Preprocessing
    decode: int = 1
    decoding: Decoding = Decoding()
    precision: Precision = "fp32"
    dtype: StoredDtype = "float32"
    join: Literal["mean", "stack"] = "mean"
    format: int = 1

    @classmethod
    def of_vectors(cls, sha256: str, dtype: StoredDtype) -> "EmbeddingSpec":
        """Return the spec of vectors that were made elsewhere.

        Parameters
        ----------
        sha256
            SHA-256 of the content of their file.
        dtype
            Type of the stored numbers.
        """
        no_preprocessing = Preprocessing(size_px=0, mean=(0, 0, 0), std=(1, 1, 1))
        return cls(
            backbone=EXTERNAL,
            weights_sha256=sha256,
            tap="x",
            pool="flatten",
            preprocessing=no_preprocessing,
            dtype=dtype,
        )

    @property
    def name(self) -> str:
        """Backbone, tap and pooling; for external vectors the beginning of their file's SHA-256."""
        if self.backbone == EXTERNAL:
            return f"{EXTERNAL}/{self.weights_sha256[:12]}"
        return f"{without_folders(self.backbone)}/{self.tap}/{self.pool}"

    def identity(self) -> dict[str, Any]:
        """Return the fields that the fingerprint is computed from; a run's network is known by its SHA-256 alone."""
        is_run = self.backbone.startswith(CHECKPOINT_PREFIX)
        return super().identity() | {"backbone": CHECKPOINT_PREFIX if is_run else self.backbone}


class ResolvedEmbedding(Spec):
    """A request, the spec that it resolves to, and the number of features d."""

    request: EmbeddingRequest
    spec: EmbeddingSpec
    n_features: int
