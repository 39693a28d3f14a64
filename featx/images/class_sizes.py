"""Settings of a recipe for targets with few images in some classes, so that each part and fold has all classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

# From this many images of each class, a split by hash leaves enough in train.
MIN_IMAGES_TO_HASH = 20
# A class with fewer images cannot be in train twice, in val and in test.
MIN_IMAGES_OF_CLASS = 4
DEFAULT_FOLDS = 5
TEST_SHARE, VAL_SHARE = 0.2, 0.15
MAX_NAMED = 5


@dataclass(frozen=True)
class SizeSettings:
    """Settings for small classes.

    Attributes
    ----------
    drop
        Classes that are left out.
    exact_split
        Whether the split needs exact shares.
    folds
        Number of folds of the search; None for the default.
    reason
        Reason for these settings, as one sentence; empty if there are none.
    """

    drop: tuple[str, ...] = ()
    exact_split: bool = False
    folds: int | None = None
    reason: str = ""


def settings_for(counts: Mapping[str, int]) -> SizeSettings:
    """Return the settings for classes with these numbers of images.

    Examples
    --------
    >>> settings_for({"cat": 90, "dog": 40})
    SizeSettings(drop=(), exact_split=False, folds=None, reason='')
    >>> settings_for({"cat": 90, "dog": 40, "fox": 1}).drop
    ('fox',)
    """
    large = {name: n for name, n in counts.items() if n >= MIN_IMAGES_OF_CLASS}
    drop = tuple(name for name in counts if name not in large) if len(large) >= 2 else ()
    kept = large if drop else dict(counts)
    smallest = min(kept.values(), default=0)
    reasons = []
    if drop:
        named = ", ".join(repr(name) for name in drop[:MAX_NAMED]) + (", …" if len(drop) > MAX_NAMED else "")
        reasons.append(f"{len(drop)} classes have fewer than {MIN_IMAGES_OF_CLASS} images and are left out: {named}")
    if smallest >= MIN_IMAGES_TO_HASH or len(kept) < 2:
        return SizeSettings(drop, reason="; ".join(reasons))
    n_train = smallest - ceil(TEST_SHARE * smallest) - ceil(VAL_SHARE * smallest)
    folds = None if n_train >= DEFAULT_FOLDS else max(2, n_train)
    name = min(kept, key=kept.__getitem__)
    reasons.append(
        f"class {name!r} has {smallest} images: the split has exact shares"
        + ("" if folds is None else f", and the search has {folds} folds")
    )
    return SizeSettings(drop, True, folds, "; ".join(reasons))
