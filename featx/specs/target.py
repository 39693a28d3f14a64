"""Spec of a prediction target."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from featx.specs.base import Count, LabelText, Spec

Part = Literal["train", "val", "test"]

# The kind of a target: one class per image, any number of labels, or numbers.
Kind = Literal["classes", "labels", "numbers"]


class TargetSpec(Spec):
    """A target: the quantity to predict, and the label columns that hold its true values.

    Attributes
    ----------
    column
        Name of the label column.
    kind
        ``classes``: exactly one per image; ``labels``: any number per image; or ``numbers``.
    columns
        Several label columns, predicted together, instead of `column`. In columns of labels, ``*`` matches any text.
        For classes, the column of each class, with 1 for its images and 0 for all others (one-hot).
    separator
        Text between the labels in one column, for labels: ``|`` in ``Edema|Mass``.
    above
        Threshold on a column of numbers: values above it are the second class, all others the first. An image has a
        label if its value is above it.
    soft
        Whether the column holds the probability of the second class, in [0, 1]; an image belongs to the more probable
        class.
    ordered
        Whether the classes are ordered, in the order of `classes`, `bins` or the numbers, so that a larger distance is
        a larger error.
    classes
        Class names in the order of the codes 0, 1, …: the column's values in a chosen order, or names for its sorted
        numbers (``["no", "yes"]`` for -1/1).
    map
        Value → new name; several values may get one name, and values that are not named stay unchanged.
    bins
        Edges b0 < b1 < … that divide a column of numbers into bands; an edge belongs to the band above it.
    keep
        Values (after `map` and `bins`) that are studied; images with other values are left out.
    drop
        Values (after `map` and `bins`) whose images are left out.
    weight
        Column of numbers ≥ 0: the weight of an image.
    confidence
        Column of numbers ≥ 0: the confidence in the label of an image, a factor of its weight.
    probability_confidence
        Whether the column of `above` holds the probability p of the second class in [0, 1], and |2p - 1| is the
        confidence in the label, a factor of its weight: 1 for p = 0 and 1, 0 for 1/2.
    balance
        ``undersample``: images of the larger classes are left out until each class has as many as the smallest, in each
        part that the source defines. A table balances only the parts that it names, to the smallest class or to a total
        number of images: ``{ train = 9636, test = "undersample" }``. Parts that ``split.column`` gives are balanced
        before val or test are cut from them, all others after the split.
    """

    column: LabelText
    kind: Kind = "classes"
    columns: tuple[LabelText, ...] = ()
    separator: Annotated[LabelText, Field(min_length=1)] | None = None
    above: float | None = None
    classes: tuple[LabelText, ...] | None = None
    map: dict[str, LabelText] = Field(default_factory=dict)
    bins: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    keep: Annotated[tuple[LabelText, ...], Field(min_length=2)] | None = None
    drop: Annotated[tuple[LabelText, ...], Field(min_length=1)] | None = None
    balance: Literal["none", "undersample"] | dict[Part, Literal["undersample"] | Count] = "none"
    weight: LabelText | None = None
    confidence: LabelText | None = None
    probability_confidence: bool = False
    soft: bool = False
    ordered: bool = False

    @field_validator("classes")
    @classmethod
    def _check_classes_are_unique(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (len(classes) < 2 or len(set(classes)) < len(classes)):
            raise ValueError(f"expected two or more different names, found {list(classes)!r}")
        return classes

    @model_validator(mode="before")
    @classmethod
    def _set_column_to_first_of_columns(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and content.get("columns") and "column" not in content:
            return {**content, "column": content["columns"][0]}
        return content

    @model_validator(mode="after")
    def _check_keys_fit_the_kind(self) -> "TargetSpec":
        if self.separator is not None and (self.kind != "labels" or self.columns):
            raise ValueError("'separator' applies to one column of kind = 'labels' only")
        if self.is_one_hot:
            column_settings = [name for name in ("bins", "keep", "drop", "map", "soft") if getattr(self, name)]
            if column_settings or self.above is not None:
                raise ValueError(
                    f"one column for each class and {(column_settings or ['above'])[0]!r} exclude each other"
                )
        if self.keep and self.drop:
            raise ValueError("'keep' and 'drop' exclude each other, expected one of them")
        names = ("classes", "bins", "keep", "drop", "map", "soft", "ordered")
        class_keys = [name for name in names if getattr(self, name)]
        class_keys += ["above"] if self.above is not None and self.kind == "numbers" else []
        class_keys += ["balance"] if self.balance != "none" else []
        if self.kind != "classes" and class_keys:
            raise ValueError(f"{class_keys[0]!r} applies to kind = 'classes' only, found kind = {self.kind!r}")
        return self

    @model_validator(mode="after")
    def _check_soft(self) -> "TargetSpec":
        conflicting_names = [name for name in ("bins", "keep", "map", "ordered") if getattr(self, name)]
        if self.soft and conflicting_names:
            raise ValueError(f"soft = true and {conflicting_names[0]!r} exclude each other, expected one of them")
        if self.soft and self.classes is not None and len(self.classes) != 2:
            raise ValueError(f"a soft target has 2 classes, found {len(self.classes)} names in 'classes'")
        return self

    @model_validator(mode="after")
    def _check_probability_confidence(self) -> "TargetSpec":
        if self.probability_confidence and (self.kind != "classes" or self.above is None):
            raise ValueError("probability_confidence = true applies to classes by a threshold only, expected 'above'")
        return self

    @property
    def is_one_hot(self) -> bool:
        """Whether each class has a column of its own."""
        return self.kind == "classes" and bool(self.columns)

    @property
    def balanced_parts(self) -> Mapping[Part, Literal["undersample"] | int]:
        """Size of each part that is balanced by itself: its number of images, or ``undersample``."""
        return {} if isinstance(self.balance, str) else self.balance

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The label columns of the target; those of labels may be patterns."""
        return self.columns or (self.column,)

    @model_validator(mode="after")
    def _check_threshold_classes(self) -> "TargetSpec":
        if self.above is not None and self.classes is not None and len(self.classes) != 2:
            raise ValueError(f"'above' makes 2 classes, found {len(self.classes)} names in 'classes'")
        return self

    @model_validator(mode="after")
    def _check_bins(self) -> "TargetSpec":
        if self.bins is None:
            return self
        if self.above is not None:
            raise ValueError("'above' and 'bins' both make classes of a number, expected one of them")
        if list(self.bins) != sorted(set(self.bins)):
            raise ValueError(f"expected bins = [b0, b1, …] in rising order, found {list(self.bins)!r}")
        if self.classes is not None and len(self.classes) != len(self.bins) + 1:
            raise ValueError(f"{len(self.bins)} edges make {len(self.bins) + 1} bands, found {len(self.classes)} names")
        return self
