"""Which rows are learnt from, which choose between runs, and which are sealed, written down."""

from typing import Literal

from pydantic import model_validator

from featx.specs.base import Share, Spec


class SplitSpec(Spec):
    """Which rows are for training, which for choosing between runs, and which are sealed.

    Attributes
    ----------
    test, val
        Shares of the images to be cut. 0 means no such part.
    method
        ``hash``: each image (or group, or set of copies) gets its part from a hash of its content and `seed`. Shares
        are met on average, and test images stay test images when others are added. ``train_test_split``: exact shares,
        cut as scikit-learn's ``train_test_split`` does; adding images changes the part of others.
    stratify
        By the classes of the recipe's first target. With ``train_test_split`` all parts have their shares of each
        class; with ``hash`` they do on average, and each class has at least one image in train and one in val.
    by
        A label column whose groups stay whole.
    column
        A label column that says ``train``, ``val`` or ``test``; parts that it does not name are cut from ``train``.
    seed
        Of the hash or the shuffling.
    cut
        How ``train_test_split`` is applied. ``test-first``: test from all rows, then val from the rest. ``together``:
        both in one from all rows, then test from those.
    duplicates
        ``together``: images of the same content go into one part. ``apart``: each image is cut by itself.
    """

    test: Share = 0.2
    val: Share = 0.15
    method: Literal["hash", "train_test_split"] = "hash"
    stratify: bool = True
    by: str | None = None
    column: str | None = None
    seed: int = 0
    cut: Literal["test-first", "together"] = "test-first"
    duplicates: Literal["together", "apart"] = "together"

    @model_validator(mode="after")
    def _cut_belongs_to_train_test_split(self) -> "SplitSpec":
        if self.cut != "test-first" and self.method != "train_test_split":
            raise ValueError(f"cut = {self.cut!r} applies to method = 'train_test_split' only, found {self.method!r}")
        return self

    @model_validator(mode="after")
    def _train_is_not_empty(self) -> "SplitSpec":
        if self.test + self.val >= 1:
            raise ValueError(f"test + val = {self.test + self.val:g}, expected less than 1")
        return self
