"""Which rows teach, choose and are sealed, written down."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import model_validator

from featx.specs.base import Share, Spec


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
