"""What is asked for, written down: small frozen specs whose fingerprints name results.

Two equal specs have one fingerprint, and any field that differs changes it; a result is kept in a folder named
by the fingerprint of its spec, so the same question is never computed twice.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from featx.registry import HEADS, READERS, VOTES, Registry

Pool = Literal["avg", "max", "avgmax", "gem", "flatten"]
Resize = Literal["crop", "squash"]
Runtime = Literal["torch", "compile", "onnx", "openvino"]
Stored = Literal["float32", "float16"]
Views = Literal["one", "flip", "five-crops"]
Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest"]
Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "quadratic_kappa",
    "average_precision",
    "exact_match",
    "mae",
    "rmse",
    "r2",
    "pearson",
    "ccc",
]
Channels = tuple[float, float, float]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Calibration = Literal["auto", "none", "platt", "isotonic", "temperature"]
Solver = Literal["sklearn", "intel", "minibatch"]
ClassWeight = Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]]
DEFAULT_VOTES = ("majority", "soft", "weighted", "greedy")
LARGEST_CROP = 0.875  # of five: as in torchvision's 224 out of 256


class Spec(BaseModel):
    """A frozen set of named choices with a fingerprint.

    Attributes
    ----------
    added_later
        Fields that came after the first release, each with the value that keeps its old meaning: while a field
        has that value it is left out of the fingerprint, so that caches outlive releases.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    added_later: ClassVar[Mapping[str, object]] = {}

    def fingerprint(self) -> str:
        """16 hex digits that change whenever any field does."""
        return fingerprint(self.identity())

    def identity(self) -> dict[str, Any]:
        """Return the fields that make it what it is, specs inside included, as JSON knows them."""
        fields = self.model_dump(mode="json")
        for name in type(self).model_fields:
            if isinstance(inside := getattr(self, name), Spec):
                fields[name] = inside.identity()
        return {name: value for name, value in fields.items() if self.added_later.get(name, ...) != value}


def fingerprint(value: object) -> str:
    """16 hex digits of SHA-256 over `value` written as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def known_name(registry: Registry[object], name: str) -> str:
    """Return `name`, or raise the ValueError that pydantic turns into a problem of its key."""
    if problem := registry.problem(name):
        raise ValueError(problem)
    return name


class LabelsSpec(Spec):
    """A table with one row an image.

    Attributes
    ----------
    file
        CSV, TSV or Parquet; relative to the source; where that is an archive, inside it or beside it.
    columns
        Names of the columns of a text table without a header line.
    separator
        Between the columns of a text table; found by looking where it is not said.
    path
        The column with the images' paths.
    root
        The folder or archive that these paths start from; relative to the source.
    """

    file: str
    columns: tuple[str, ...] | None = None
    separator: Literal["comma", "tab", "semicolon", "whitespace"] | None = None
    path: str = "path"
    root: str = "."

    @field_validator("columns")
    @classmethod
    def _columns_differ(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and len(set(columns)) < len(columns):
            raise ValueError(f"expected different names, found {list(columns)!r}")
        return columns


class ArraySpec(Spec):
    """One dataset of images with its labels, in array files.

    Attributes
    ----------
    images
        ``FILE`` or ``FILE#DATASET``; files are relative to the source, or to its folder where it is a file.
    labels
        Column → the same for a dataset with as many rows.
    split
        The part that all its images belong to: the value of the column ``split``.
    """

    images: str
    labels: dict[str, str] = {}
    split: str | None = None


class ReaderSpec(Spec):
    """Where the images and their labels are.

    Attributes
    ----------
    source
        A folder, an archive, ``ARCHIVE!FOLDER`` inside it, or an array file, relative to the recipe;
        ``package:NAME/FOLDER`` inside an installed Python package; or a URL such as ``s3://bucket/prefix``.
    labels
        The table that names the images; without it, images stand in one sub-folder a class.
    arrays
        The datasets of array files.
    reader
        A name of ``featx.readers``; by default ``table`` where there are labels, ``arrays`` where there are arrays,
        and ``folder`` elsewhere.
    drop_unlabelled
        Leave out images that lack a label instead of stopping at them.
    """

    added_later: ClassVar[Mapping[str, object]] = {"arrays": [], "drop_unlabelled": False}

    source: str
    labels: LabelsSpec | None = None
    arrays: tuple[ArraySpec, ...] = ()
    reader: str | None = None
    drop_unlabelled: bool = False

    @field_validator("reader")
    @classmethod
    def _reader_is_known(cls, name: str | None) -> str | None:
        return None if name is None else known_name(READERS, name)

    @property
    def reader_name(self) -> str:
        """The reader asked for, or the one that fits."""
        return self.reader or ("table" if self.labels else "arrays" if self.arrays else "folder")


class TargetSpec(Spec):
    """What is to be predicted.

    Attributes
    ----------
    column
        The label column.
    kind
        ``classes``, of which an image has one; ``labels``, of which it may have several or none; or ``numbers``.
    columns
        Of labels and numbers: several label columns that are answered together, instead of `column`. In those of
        labels ``*`` stands for any text.
    above
        For a number: the second class is everything above it, the first one the rest; a label is had above it.
    soft
        The column holds the probability of the second class, in [0, 1]; an image is of the class that has more.
    ordered
        The classes stand in an order, that of `classes`, `bins` or the numbers: a guess is the worse the further off.
    classes
        Names in the order of the codes 0, 1, …: the column's own values in a chosen order, or, for numbers,
        names of the sorted values (``["no", "yes"]`` for -1/1).
    map
        Other names for values, several of which may become one; values that it leaves out stay as they are.
    bins
        For a number: edges b0 < b1 < … of bands, the first one below b0, the last one from the last edge on.
    keep
        The values (after `map` and `bins`) that are studied; images with others are left out.
    weight, confidence
        Columns of numbers ≥ 0: how much an image counts, and how sure its label is. Heads learn with their product.
    balance
        ``undersample``: leave out images of the larger classes until all have as many as the smallest, in each part
        that the source gives.
    """

    added_later: ClassVar[Mapping[str, object]] = {
        "map": {},
        "bins": None,
        "keep": None,
        "balance": "none",
        "weight": None,
        "confidence": None,
        "kind": "classes",
        "columns": [],
        "soft": False,
        "ordered": False,
    }

    column: str
    kind: Literal["classes", "labels", "numbers"] = "classes"
    columns: tuple[str, ...] = ()
    above: float | None = None
    classes: tuple[str, ...] | None = None
    map: dict[str, str] = {}
    bins: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    keep: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    balance: Literal["none", "undersample"] = "none"
    weight: str | None = None
    confidence: str | None = None
    soft: bool = False
    ordered: bool = False

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (len(classes) < 2 or len(set(classes)) < len(classes)):
            raise ValueError(f"expected two or more different names, found {list(classes)!r}")
        return classes

    @model_validator(mode="before")
    @classmethod
    def _the_first_column_stands_for_all(cls, written: Any) -> Any:
        if isinstance(written, Mapping) and written.get("columns") and "column" not in written:
            return {**written, "column": written["columns"][0]}
        return written

    @model_validator(mode="after")
    def _its_keys_go_together(self) -> "TargetSpec":
        if self.kind == "classes" and self.columns:
            raise ValueError("several columns are answered together; say kind = 'labels' or kind = 'numbers'")
        of_classes = [name for name in ("classes", "bins", "keep", "map", "soft", "ordered") if getattr(self, name)]
        of_classes += ["above"] if self.above is not None and self.kind == "numbers" else []
        of_classes += ["balance"] if self.balance != "none" else []
        if self.kind != "classes" and of_classes:
            raise ValueError(f"{of_classes[0]!r} makes classes, found kind = {self.kind!r} beside it")
        others = [name for name in ("bins", "keep", "map", "ordered") if getattr(self, name)]
        if self.soft and others:
            raise ValueError(f"a soft target has two classes and their shares, found {others[0]!r} beside it")
        if self.soft and self.classes is not None and len(self.classes) != 2:
            raise ValueError(f"a soft target has 2 classes, found {len(self.classes)} names in 'classes'")
        return self

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The label columns that it is made of; those of labels may be patterns."""
        return self.columns or (self.column,)

    @model_validator(mode="after")
    def _a_threshold_makes_two(self) -> "TargetSpec":
        if self.above is not None and self.classes is not None and len(self.classes) != 2:
            raise ValueError(f"'above' makes 2 classes, found {len(self.classes)} names in 'classes'")
        return self

    @model_validator(mode="after")
    def _bands_are_in_order(self) -> "TargetSpec":
        if self.bins is None:
            return self
        if self.above is not None:
            raise ValueError("'above' and 'bins' both make classes of a number, expected one of them")
        if list(self.bins) != sorted(set(self.bins)):
            raise ValueError(f"expected bins = [b0, b1, …] in rising order, found {list(self.bins)!r}")
        if self.classes is not None and len(self.classes) != len(self.bins) + 1:
            raise ValueError(f"{len(self.bins)} edges make {len(self.bins) + 1} bands, found {len(self.classes)} names")
        return self


class SplitSpec(Spec):
    """Which rows teach, which choose, and which are sealed.

    Attributes
    ----------
    test, val
        Shares of all rows; test is cut first, val from what is left. 0 means none.
    stratify
        Keep the classes' shares alike in all parts (of the recipe's first target).
    by
        A label column whose groups stay whole.
    column
        A label column that says ``train``, ``val`` or ``test``; parts that it does not name are cut from ``train``.
    seed
        Of the shuffling.
    cut
        ``test-first``: test from all rows, then val from what is left. ``together``: both in one from all rows, then
        test from those, as in ``train_test_split`` twice.
    duplicates
        ``apart``: each image is cut by itself. ``together``: images of the same content go into one part.
    """

    added_later: ClassVar[Mapping[str, object]] = {"cut": "test-first", "duplicates": "apart"}

    test: Share = 0.2
    val: Share = 0.15
    stratify: bool = True
    by: str | None = None
    column: str | None = None
    seed: int = 0
    cut: Literal["test-first", "together"] = "test-first"
    duplicates: Literal["apart", "together"] = "apart"

    @model_validator(mode="after")
    def _one_thing_says_where_a_copy_goes(self) -> "SplitSpec":
        said = [name for name in ("by", "column") if getattr(self, name) is not None]
        if self.duplicates == "together" and said:
            raise ValueError(
                f"duplicates = 'together' and {said[0]!r} both say where a copy goes, expected one of them; "
                "'featx leaks' lists copies in several parts"
            )
        return self

    @model_validator(mode="after")
    def _something_is_left_to_learn_from(self) -> "SplitSpec":
        if self.test + self.val >= 1:
            raise ValueError(f"test + val = {self.test + self.val:g}, expected less than 1")
        return self


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
    """

    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#ffffff"
    frame: Annotated[int, Field(ge=0)] = 0
    value_range: tuple[float, float] | None = None
    reduced: bool = False

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
        Override the weights' own preprocessing: ``crop`` takes the central `crop_share` of the shorter side,
        ``squash`` the whole image without keeping its aspect; mean and std are of pixels scaled to [0, 1].
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
    def network_key(self) -> "EmbeddingRequest":
        """What is equal for two requests that one network fills in one pass."""
        return self.model_copy(update={"tap": "last", "pool": "avg", "join": "mean", "dtype": "float32"})


class Preprocessing(Spec):
    """How a decoded image becomes what a network takes; see `EmbeddingRequest` for the fields."""

    added_later: ClassVar[Mapping[str, object]] = {"views": "one"}

    size_px: int
    resize: Resize = "crop"
    crop_share: float = 1.0
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
        Version of the decoding policy in `featx.images.decode`, and what was chosen in it.
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
    decode: int = 2
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


class EngineSpec(Spec):
    """How an extraction runs; a precision once chosen, nothing of it changes a number.

    Attributes
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers
        Processes that decode; by default one a core, at most 4.
    batch_size
        Images that a worker gets at a time. What a network gets is fixed.
    runtime
        ``torch``, ``compile`` (``torch.compile``: worth its minute for many images), ``onnx`` or ``openvino`` (CPU,
        extra ``cpu``); ``auto`` tries those that are here on the first images.
    least_cosine
        That a reduced precision's vectors must have with fp32's, on the images that are tried, and as they make it
        expect on the others (`featx.embeddings.drift.Drift`).
    segment_rows
        Most rows that are gathered before they are stored: what a killed extraction loses at most.
    gpus
        That a network is trained on at once.
    search_gb
        Most that the trials of a head's search may keep for each other.
    boundary_gb
        Most that the activations of one boundary may take; for more, frozen layers run in every epoch.
    """

    device: str = "auto"
    workers: Count | None = None
    batch_size: Count = 16
    runtime: Literal["auto", Runtime] = "auto"
    least_cosine: Annotated[float, Field(gt=0, lt=1)] = 0.999
    segment_rows: Count = 1024
    gpus: Count = 1
    search_gb: Annotated[float, Field(ge=0)] = 2.0
    boundary_gb: Annotated[float, Field(ge=0)] = 50.0


class ClusterSpec(Spec):
    """Dask workers that share the work; they change no number of an embedding.

    Attributes
    ----------
    scheduler
        Address of a scheduler that runs, ``tcp://HOST:PORT``.
    workers_local
        Or processes to start here, for as long as the work takes.
    """

    scheduler: str | None = None
    workers_local: Count | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "ClusterSpec":
        if (self.scheduler is None) == (self.workers_local is None):
            raise ValueError("expected either a scheduler ('--scheduler tcp://HOST:PORT') or '--workers-local N'")
        return self


class HeadSpec(Spec):
    """One head and its search.

    Attributes
    ----------
    name
        A name from ``featx heads``.
    trials, timeout_s
        How many settings are tried, and for how long at most.
    metric
        What cross-validation inside train maximises (losses and errors are minimised); by default ``accuracy`` of
        classes, ``quadratic_kappa`` where they are ordered, ``average_precision`` of labels, ``mae`` of numbers.
    class_weight
        ``none``, ``balanced`` (each class weighs the same), or a weight for each class name.
    group_weight
        Names of ``[groups]`` joined by ``+``: each of their combinations weighs the same.
    embeddings
        ``all``: what the recipe extracts stands side by side; ``search``: which of it, alone or side by side, is one
        more choice of the search; otherwise those that are called so (`EmbeddingRequest.is_called`). A list is a grid,
        one run each.
    calibration
        How outputs become probabilities: ``none`` (the head's own), ``platt``, ``isotonic`` or ``temperature``; by
        default (``auto``) what has the least log loss, cross-fitted over the folds.
    solver
        ``sklearn``; or ``intel`` (extra ``intel``), which fits `svm` in a part of the time where a search cannot keep
        its matrices, and in the end. What is written is scikit-learn's own all the same. ``minibatch`` fits `logreg`
        and a linear `svm` by stochastic gradient descent.
    memory_gb
        Of the train rows' vectors beyond which they stay in the store: `logreg`, a linear `svm` (by minibatches) and
        `xgboost` learn classes from them in passes, their setting searched on a sample. No bound by default.
    rule
        ``best``: the setting with the best mean over the folds; ``one_se``: the simplest within a standard error of it.
    warm
        Begin with the setting that the last finished search for this head and target found.
    nested
        Folds by which the whole search is scored from outside; 0 for none.
    folds
        Of the cross-validation.
    seed
        Of the folds, the search and the head.
    """

    added_later: ClassVar[Mapping[str, object]] = {
        "group_weight": "none",
        "embeddings": "all",
        "calibration": "auto",
        "solver": "sklearn",
        "memory_gb": None,
        "rule": "best",
        "warm": False,
        "nested": 0,
    }

    name: str
    trials: Count = 20
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    metric: Metric | None = None
    class_weight: ClassWeight = "none"
    group_weight: str = "none"
    embeddings: str | Annotated[tuple[str, ...], Field(min_length=1)] = "all"
    calibration: Calibration = "auto"
    solver: Solver = "sklearn"
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    rule: Literal["best", "one_se"] = "best"
    warm: bool = False
    nested: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] = 5
    seed: int = 0

    @field_validator("name")
    @classmethod
    def _head_is_known(cls, name: str) -> str:
        return known_name(HEADS, name)

    def grid(self) -> "Iterator[HeadSpec]":
        """Yield one spec for each item of `embeddings`."""
        for name in (self.embeddings,) if isinstance(self.embeddings, str) else self.embeddings:
            yield self.model_copy(update={"embeddings": name})

    @field_validator("nested")
    @classmethod
    def _one_fold_is_none(cls, nested: int) -> int:
        if nested == 1:
            raise ValueError("expected 0 or two folds or more, found 1")
        return nested


class EnsembleSpec(Spec):
    """Votes to hold over finished runs.

    Attributes
    ----------
    methods
        Names of ``featx.votes``; by default those of `DEFAULT_VOTES` that can answer the target.
    members
        Names of runs, or how they begin; all finished heads and networks by default.
    metric
        The score that chooses between runs, weighs members and selects them; the target's own by default.
    stacker
        What ``stacking`` learns with: ``logistic``, ``ridge`` or ``xgboost``; by default ``logistic``, and ``ridge`` of
        numbers.
    folds, seed
        Of the cross-fitting by which a vote that learns is scored.
    """

    added_later: ClassVar[Mapping[str, object]] = {"stacker": None}

    methods: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    members: tuple[str, ...] | None = None
    metric: Metric | None = None
    stacker: Literal["logistic", "ridge", "xgboost"] | None = None
    folds: Annotated[int, Field(ge=2)] = 5
    seed: int = 0

    @field_validator("methods")
    @classmethod
    def _methods_are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(known_name(VOTES, name) for name in names)
