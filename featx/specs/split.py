"""Spec of the split into train, val (selection) and sealed test rows."""

from typing import Literal

from pydantic import Field, model_validator

from featx.specs.base import Share, Spec

DEFAULT_TEST_SHARE = 0.2


class SplitSpec(Spec):
    """The split into rows for training, rows for selection between runs (val), and sealed test rows.

    Attributes
    ----------
    test, val
        Shares of the images; 0 means that there is no such part. The default of `test` is 0.2, and 0 if `column` gives
        the parts.
    method
        ``hash``: the part of each image (or group, or set of copies) follows from a hash of its content and `seed`.
        Shares are met on average, and test images stay test images when images are added. ``train_test_split``: exact
        shares, by scikit-learn's ``train_test_split``; adding images moves other images between parts.
    stratify
        Whether the split is stratified by the classes of the recipe's first target: exactly with
        ``train_test_split``; on average with ``hash``, with at least one image of each class in train and in val.
    by
        Label column whose groups are never split.
    column
        Label column with the part of each image: ``train``, ``val`` or ``test``, in any common wording. A part that it
        does not name is cut from ``train`` if it has a share.
    parts
        Value of `column` → part, for values that do not say it: ``{ 0 = "train", 1 = "val", 2 = "test" }``.
    seed
        Seed of the hash or the shuffling.
    order
        Order in which ``train_test_split`` is applied. ``test-first``: test from all rows, then val from the remaining
        ones. ``together``: test and val together from all rows, then test from these.
    duplicates
        ``together``: images with the same content go into one part. ``independent``: each image is assigned by itself.
    """

    test: Share | None = None
    val: Share = 0.15
    method: Literal["hash", "train_test_split"] = "hash"
    stratify: bool = True
    by: str | None = None
    column: str | None = None
    parts: dict[str, Literal["train", "val", "test"]] = Field(default_factory=dict)
    seed: int = 0
    order: Literal["test-first", "together"] = "test-first"
    duplicates: Literal["together", "independent"] = "together"

    @model_validator(mode="after")
    def _check_order(self) -> "SplitSpec":
        if self.order != "test-first" and self.method != "train_test_split":
            raise ValueError(
                f"order = {self.order!r} applies to method = 'train_test_split' only, found {self.method!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> "SplitSpec":
        if self.test_share + self.val >= 1:
            raise ValueError(f"test + val = {self.test_share + self.val:g}, expected less than 1")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each part other than train."""
        return {"test": self.test_share, "val": self.val}

    @property
    def test_share(self) -> float:
        """Share of the test part: the stated one, or the default."""
        if self.test is not None:
            return self.test
        return DEFAULT_TEST_SHARE if self.column is None else 0.0
