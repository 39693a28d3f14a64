"""An embedding, written down: as a recipe asks for it, and as all that makes its numbers."""

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from featx.specs.base import Spec

Pool = Literal["avg", "max", "avgmax", "gem", "flatten"]
Resize = Literal["crop", "squash", "border"]
Stored = Literal["float32", "float16"]
Views = Literal["one", "flip", "five-crops"]
Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest"]
Channels = tuple[float, float, float]
LARGEST_CROP = 0.875  # of five: as in torchvision's 224 out of 256


class Decoding(Spec):
    """What can be chosen in turning a file into pixels; `featx.images.decode` says the rest.

    Attributes
    ----------
    background
        ``#rrggbb`` under transparent pixels.
    frame
        Of animated and multi-page files, from 0.
    value_range
        The numbers that become black and white, for pixels of more than 8 bits; by default their type's, or for
        floats and 32-bit integers the smallest of [0, 1], [0, 255], [0, 65535] and the image's own that holds them.
    reduced
        Decode large JPEGs at 1/2, 3/8, 1/4 or 1/8 where that is still twice what the network takes: faster, and other
        numbers.
    max_bytes
        Bytes that the pixels of one image may take once decoded; an image that would take more is unreadable. It
        changes no number, and is no part of an embedding's fingerprint.
    """

    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#ffffff"
    frame: Annotated[int, Field(ge=0)] = 0
    value_range: tuple[float, float] | None = None
    reduced: bool = False
    max_bytes: Annotated[int, Field(ge=1)] = 1 << 30

    def identity(self) -> dict[str, Any]:
        """Return the fields that change numbers."""
        return {name: value for name, value in super().identity().items() if name != "max_bytes"}

    @model_validator(mode="after")
    def _range_has_a_width(self) -> "Decoding":
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"expected value_range = [low, high], found {list(self.value_range)!r}")
        return self


class EmbeddingRequest(Spec):
    """One embedding as a recipe asks for it; what is left out belongs to the weights.

    Attributes
    ----------
    backbone
        A name from ``featx backbones``, ``torchvision:NAME`` or ``timm:NAME``.
    weights
        ``default`` (pretrained), ``none`` (random, seed 0) or a file with a state dict.
    tap
        The layer to read: ``last`` for the last one before the classifier's pooling, or any name that
        ``featx backbones NAME`` lists.
    pool
        How (c, h, w) becomes a vector: ``avg``, ``max``, ``avgmax`` (both, 2c), ``gem`` (p = 3) or ``flatten`` (c·h·w).
    size_px, resize, crop_share, interpolation, mean, std
        Override the weights' own preprocessing. ``crop`` takes a central square, whose side is `crop_share` of the
        shorter side. ``squash`` takes the image without keeping its aspect ratio, and ``border`` puts it between
        borders in the colour `mean`; both take the whole image unless `crop_share` is given. `mean` and `std` are of
        pixels scaled to [0, 1].
    precision
        Of the arithmetic: ``fp32``; ``bf16`` or ``fp16`` where the vectors stay close enough to fp32's
        (`EngineSpec.least_cosine`); or ``auto``: the fastest that does, for many images, and ``fp32`` for few.
    views
        What the network sees of an image: ``one``, also its mirror image (``flip``), or ``five-crops``: its corners and
        its centre.
    join
        What becomes of the views' vectors: their ``mean``, or all of them side by side (``stack``).
    dtype
        Of what is stored: ``float16`` takes half the room, and keeps 11 bits of each number.
    decoding
        How files become pixels; a recipe says it once, in ``[decoding]``.
    """

    added_later: ClassVar[Mapping[str, object]] = {
        "decoding": Decoding().identity(),
        "precision": "fp32",
        "views": "one",
        "join": "mean",
        "dtype": "float32",
    }

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
    dtype: Stored = "float32"
    decoding: Decoding = Decoding()

    @property
    def name(self) -> str:
        """What ``--embedding`` calls it: backbone, tap and pooling, then whatever else is not the default."""
        others = self.model_dump(exclude={"backbone", "tap", "pool", "decoding"}, exclude_defaults=True, mode="json")
        return f"{self.backbone}/{self.tap}/{self.pool}" + "".join(f",{key}={value}" for key, value in others.items())

    def is_called(self, text: str) -> bool:
        """Whether `text` is its name, its backbone, tap or pooling, or its backbone and tap."""
        return text in {self.name, self.backbone, self.tap, self.pool, f"{self.backbone}/{self.tap}"}

    @property
    def nickname(self) -> str:
        """How runs call it: by its tap where that tells most, by its backbone otherwise."""
        return (self.backbone if self.tap == "last" else self.tap).replace(":", "/").rpartition("/")[2]

    @property
    def has_own_weights(self) -> bool:
        """Whether `weights` names a file."""
        return self.weights not in {"default", "none"}

    @property
    def portable(self) -> "EmbeddingRequest":
        """The same with the name of its weights' file without the folder, which other machines do not have."""
        name = PurePath(self.weights).name
        return self.model_copy(update={"weights": name}) if self.has_own_weights else self

    @property
    def network_key(self) -> "EmbeddingRequest":
        """What is equal for two requests that one network fills in one pass."""
        return self.model_copy(update={"tap": "last", "pool": "avg", "join": "mean", "dtype": "float32"})


class Preprocessing(Spec):
    """How a decoded image becomes what a network takes; see `EmbeddingRequest` for the fields."""

    added_later: ClassVar[Mapping[str, object]] = {"views": "one"}

    size_px: int
    resize: Resize = "crop"
    crop_share: Annotated[float, Field(gt=0)] = 1.0
    interpolation: Interpolation = "bicubic"
    mean: Channels
    std: Channels
    views: Views = "one"

    @property
    def canvas_px(self) -> int:
        """Side of the square that views are cut from: `size_px` but for crops, which leave out an eighth or more."""
        if self.views != "five-crops":
            return self.size_px
        return round(self.size_px / min(self.crop_share, LARGEST_CROP))

    @property
    def canvas_share(self) -> float:
        """How much of an image's shorter side that square shows; crops are cut off later, where the network runs."""
        return 1.0 if self.views == "five-crops" else self.crop_share

    @property
    def resized_px(self) -> int:
        """Side in whole pixels to which an image is resized before the square is cut: rounded down, as timm does.

        Of an image's shorter side for ``crop``, of both for ``squash`` and of the longer one for ``border``.
        """
        # The margin keeps a quotient that floating-point division puts just below a whole number.
        return math.floor(self.canvas_px / self.canvas_share + 1e-9)


class Reduced(Spec):
    """Arithmetic of fewer bits, and all that its numbers depend on.

    Attributes
    ----------
    dtype
        Of the multiplications; sums are kept in fp32.
    runtime, device
        What computes: they round differently.
    first_layers, first_dtype
        As many convolutions and matrix products at the beginning, where rounding does most harm, keep more bits.
    """

    dtype: Literal["bf16", "fp16"]
    runtime: Literal["torch", "openvino"]
    device: Literal["cpu", "cuda"]
    first_layers: Annotated[int, Field(ge=0)] = 0
    first_dtype: Literal["fp32", "fp16"] = "fp32"

    def __str__(self) -> str:
        front = f", its first {self.first_layers} layers {self.first_dtype}" if self.first_layers else ""
        return f"{self.dtype} by {self.runtime} on {self.device}{front}"


Precision = Literal["fp32"] | Reduced


class EmbeddingSpec(Spec):
    """All that makes the numbers of one embedding; its fingerprint names the cache.

    Attributes
    ----------
    weights_sha256
        Of the weights' file; for random weights, of their values.
    tap
        The layer's own name (never ``last``).
    decode, decoding
        Version of the policy in `featx.images.decode` and `featx.images.resizing`, and what was chosen in it.
    precision, dtype
        Of the arithmetic, and of what is stored.
    join
        Of the preprocessing's views.
    format
        Number of the store's format.
    """

    added_later: ClassVar[Mapping[str, object]] = {"decoding": Decoding().identity(), "join": "mean"}

    backbone: str
    weights_sha256: str
    tap: str
    pool: Pool
    preprocessing: Preprocessing
    decode: int = 3
    decoding: Decoding = Decoding()
    precision: Precision = "fp32"
    dtype: Stored = "float32"
    join: Literal["mean", "stack"] = "mean"
    format: int = 1


class ResolvedEmbedding(Spec):
    """A request, all that makes its numbers, and d."""

    request: EmbeddingRequest
    spec: EmbeddingSpec
    n_features: int
