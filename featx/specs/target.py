"""What is to be predicted, written down."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from featx.specs.base import Spec


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
    map: dict[str, str] = Field(default_factory=dict)
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
