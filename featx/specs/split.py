"""Spec of the split into train, val (selection) and sealed test rows."""

from typing import Literal

from pydantic import model_validator

from featx.specs.base import Share, Spec


class SplitSpec(Spec):
    """The split into rows for training, rows for selection between runs (val), and sealed test rows.

    Attributes
    ----------
    test, val
        Shares of the images; 0 means that there is no such part.
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
        Label column with the values ``train``, ``val`` or ``test``; parts that it does not name are cut from ``train``.
    seed
        Seed of the hash or the shuffling.
    order
        Order in which ``train_test_split`` is applied. ``test-first``: test from all rows, then val from the remaining
        ones. ``together``: test and val together from all rows, then test from these.
    duplicates
        ``together``: images with the same content go into one part. ``independent``: each image is assigned by itself.
    """

    test: Share = 0.2
    val: Share = 0.15
    method: Literal["hash", "train_test_split"] = "hash"
    stratify: bool = True
    by: str | None = None
    column: str | None = None
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
        if self.test + self.val >= 1:
            raise ValueError(f"test + val = {self.test + self.val:g}, expected less than 1")
        return self
