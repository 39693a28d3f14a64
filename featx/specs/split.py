"""Spec of the split into train, val (selection) and sealed test rows."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from featx.specs.base import N_SEEDS, LabelText, Seed, Spec

# The parts of a split in the order in which they are shown.
PARTS = ("train", "val", "test")
DEFAULT_TEST_SHARE = 0.2


def _check_size(value: Any) -> Any:
    """Return the size of a part: a share in [0, 1), or a whole number of images."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 <= value < 1:
        return float(value)
    if is_number and value >= 1 and isinstance(value, int):
        return value
    raise ValueError(f"found {value!r}, expected a share (0.2, less than 1) or a whole number of images (600)")


def _check_function(value: Any) -> Any:
    """Return the name of a function in a file or a module."""
    place, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (place and colon and name.isidentifier()):
        raise ValueError(f"found {value!r}, expected a function: 'FILE.py:FUNCTION' or 'MODULE:FUNCTION'")
    return value


PartSize = Annotated[int | float, BeforeValidator(_check_size)]


class SplitSpec(Spec):
    """The split into rows for training, rows for selection between runs (val), and sealed test rows.

    Attributes
    ----------
    test
        Share of the images, or number of images (1 or more, with ``train_test_split`` only); 0 for no test part. The
        default is 0.2, and 0 if `column` or `cut` gives the parts.
    val
        Share or number of images of val, as `test`; 0 for no val part.
    val_of
        ``all``: the share `val` is of all images. ``rest``: of the images that are not test images, as in two calls of
        ``train_test_split`` of which the second one divides the rest of the first one. The default is ``rest`` if
        `column` or `cut` gives the parts, and ``all`` otherwise.
    method
        ``hash``: the part of each image (or group, or set of copies) follows from a hash of its content and `seed`.
        Shares are met on average, and test images stay test images when images are added. ``train_test_split``: exact
        sizes, by scikit-learn's ``train_test_split`` on the images in the order of the source, with its rounding;
        adding images moves other images between parts.
    stratify
        Whether the split is stratified by the recipe's first target (its classes, rarest label or fifths of its
        numbers): exactly with ``train_test_split``; on average with ``hash``, with at least one image of each class in
        train and in val.
    by
        Label column whose groups are never split.
    column
        Label column with the part of each image: ``train``, ``val`` or ``test``, in any common wording. A part that it
        does not name is cut from ``train`` if it has a share.
    parts
        Value of `column` → part, for values that do not say it: ``{ 0 = "train", 1 = "val", 2 = "test" }``.
    cut
        Function that returns the part of each image, as ``FILE.py:FUNCTION`` relative to the recipe or as
        ``MODULE:FUNCTION``. It is called with the table of labels, indexed by the images' ids, and with `seed`, and
        returns ``train``, ``val`` or ``test`` for each row, in the order of the rows or indexed by id. As with
        `column`, a part that it does not name is cut from ``train`` if it has a share. Its code runs whenever images
        are extracted.
    seed
        Seed of the hash or the shuffling: ``random_state`` of ``train_test_split``.
    repeats
        Number of outer splits with the seeds `seed`, `seed` + 1, …: ``featx run`` makes and chooses all runs inside
        the training part of each, and reports means over the splits. Other commands use the first split.
    seeds
        Seeds of the outer splits, instead of `repeats`.
    keep_runs
        Whether the models of finished outer splits are kept; otherwise their scores only. If it is set later,
        ``featx run`` makes the runs of finished splits again.
    second_seed
        ``random_state`` of the second call of ``train_test_split``; by default `seed`.
    order
        Order in which ``train_test_split`` is applied. ``test-first``: test from all rows, then val from the remaining
        ones. ``together``: test and val together from all rows, then test from these.
    duplicates
        ``together``: images with the same content go into one part. ``independent``: each image is assigned by itself.
    """

    test: PartSize | None = None
    val: PartSize = 0.15
    val_of: Literal["all", "rest"] | None = None
    method: Literal["hash", "train_test_split"] = "hash"
    stratify: bool = True
    by: LabelText | None = None
    column: LabelText | None = None
    parts: dict[str, Literal["train", "val", "test"]] = Field(default_factory=dict)
    cut: Annotated[str, BeforeValidator(_check_function)] | None = None
    seed: Seed = 0
    repeats: Annotated[int, Field(ge=2)] | None = None
    seeds: tuple[Seed, ...] = ()
    keep_runs: bool = True
    second_seed: Seed | None = None
    order: Literal["test-first", "together"] = "test-first"
    duplicates: Literal["together", "independent"] = "together"

    @model_validator(mode="after")
    def _check_method(self) -> "SplitSpec":
        exact_settings = {
            f"order = {self.order!r}": self.order != "test-first",
            f"second_seed = {self.second_seed}": self.second_seed is not None,
            f"test = {self.test}": self.test_size >= 1,
            f"val = {self.val}": self.val >= 1,
        }
        exact_names = [setting for setting, is_used in exact_settings.items() if is_used]
        if exact_names and self.method != "train_test_split":
            raise ValueError(f"{exact_names[0]} applies to method = 'train_test_split' only, found {self.method!r}")
        if self.order == "together" and self.val_base == "rest":
            raise ValueError(
                "val_of = 'rest' applies to order = 'test-first' only: with 'together', 'test' and 'val' are shares of "
                "all images (test = 0.1 and val = 0.1 for test_size = 0.2 and then 0.5)"
            )
        return self

    @model_validator(mode="after")
    def _check_outer_splits(self) -> "SplitSpec":
        if self.seeds and self.repeats is not None:
            raise ValueError("'repeats' and 'seeds' exclude each other, expected one of them")
        if not (self.keep_runs or self.outer_seeds):
            raise ValueError("keep_runs = false applies to outer splits only, expected 'repeats' or 'seeds' beside it")
        if len(self.seeds) == 1 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected two or more different seeds, found {list(self.seeds)!r}")
        if self.outer_seeds and self.outer_seeds[-1] >= N_SEEDS:
            raise ValueError(
                f"the seeds of repeats = {self.repeats} end at {self.outer_seeds[-1]}, expected less than {N_SEEDS}; "
                "set a smaller 'seed'"
            )
        if self.cut is not None and self.column is not None:
            raise ValueError("'cut' and 'column' both say the part of each image, expected one of them")
        if self.column is not None and self.test is None and self.outer_seeds:
            raise ValueError("the parts of 'column' are the same in all outer splits, expected no 'repeats' or 'seeds'")
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> "SplitSpec":
        shares = [size for size in (self.test_size, self.val) if size < 1]
        if self.val_base == "all" and sum(shares) >= 1:
            raise ValueError(f"test + val = {sum(shares):g}, expected less than 1")
        return self

    @property
    def val_base(self) -> Literal["all", "rest"]:
        """The images that `val` is a share of: the stated ones, or the default."""
        return self.val_of or ("rest" if self.has_given_parts else "all")

    @property
    def sizes(self) -> dict[str, float]:
        """Share, or number of images, of each part other than train."""
        return {"test": self.test_size, "val": self.val}

    @property
    def test_size(self) -> float:
        """Share, or number of images, of the test part: the stated one, or the default."""
        if self.test is not None:
            return self.test
        return 0.0 if self.has_given_parts else DEFAULT_TEST_SHARE

    @property
    def has_given_parts(self) -> bool:
        """Whether a label column or a function says the part of each image."""
        return self.column is not None or self.cut is not None

    @property
    def outer_seeds(self) -> tuple[int, ...]:
        """Seeds of the outer splits; empty for a study of one split."""
        return self.seeds or tuple(range(self.seed, self.seed + (self.repeats or 0)))

    def outer_split(self, seed: int) -> "SplitSpec":
        """Return the split of one of the outer seeds."""
        return self.model_copy(update={"seed": seed, "repeats": None, "seeds": (), "keep_runs": True})
