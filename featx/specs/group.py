"""Spec of a grouping of the images, by which scores are compared and rows are weighted."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from featx.specs.base import LabelText, Spec


class GroupSpec(Spec):
    """A grouping of the images: the values of a label column, or bands of its numbers.

    Attributes
    ----------
    column
        Name of the label column; a bare name stands for it.
    bins
        Edges b0 < b1 < … that divide a column of numbers into bands; an edge belongs to the band above it. The bands
        become a label column with the name of the grouping.
    """

    column: LabelText
    bins: Annotated[tuple[float, ...], Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_to_table(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("bins")
    @classmethod
    def _check_bins(cls, bins: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if bins is not None and list(bins) != sorted(set(bins)):
            raise ValueError(f"expected bins = [b0, b1, …] in rising order, found {list(bins)!r}")
        return bins
