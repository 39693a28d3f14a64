"""Settings of a recipe for targets with few images in some classes, so that each part and fold has all classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

# From this many images of each class, a split by hash leaves enough in train.
MIN_IMAGES_TO_HASH = 20
# A class with fewer images cannot be in test, in val, and three times in train.
MIN_IMAGES_OF_CLASS = 5
N_PARTS = 3
DEFAULT_FOLDS = 5
# Fewer folds need more rows of each class.
MIN_FOLDS = 3
# Share of the groups that are in train at least, whatever their sizes.
MIN_TRAIN_GROUPS = 0.4
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
    test, val
        Shares of the parts: larger than usual if a part could not have an image of each class otherwise.
    folds
        Number of folds of the search; None for the default.
    reason
        Reason for these settings, as one sentence; empty if there are none.
    """

    drop: tuple[str, ...] = ()
    exact_split: bool = False
    test: float = TEST_SHARE
    val: float = VAL_SHARE
    folds: int | None = None
    reason: str = ""


def propose_size_settings(counts: Mapping[str, int]) -> SizeSettings:
    """Return the settings for classes with these numbers of images.

    Parameters
    ----------
    counts
        Number of images by class.

    Examples
    --------
    >>> propose_size_settings({"cat": 90, "dog": 40}) == SizeSettings()
    True
    >>> propose_size_settings({"cat": 90, "dog": 40, "fox": 1}).drop
    ('fox',)
    >>> small = propose_size_settings({"cat": 5, "dog": 5})
    >>> small.test, small.val, small.folds
    (0.2, 0.2, 3)
    >>> propose_size_settings({"cat": 1, "dog": 1}).test
    0.2
    """
    large_classes = {name: n for name, n in counts.items() if n >= MIN_IMAGES_OF_CLASS}
    drop = tuple(name for name in counts if name not in large_classes) if len(large_classes) >= 2 else ()
    class_counts = large_classes if drop else dict(counts)
    min_count = min(class_counts.values(), default=0)
    reasons = []
    if drop:
        dropped_names = ", ".join(repr(name) for name in drop[:MAX_NAMED]) + (", …" if len(drop) > MAX_NAMED else "")
        reasons.append(
            f"{len(drop)} classes have fewer than {MIN_IMAGES_OF_CLASS} images and are left out: {dropped_names}"
        )
    if min_count >= MIN_IMAGES_TO_HASH or len(class_counts) < 2:
        return SizeSettings(drop, reason="; ".join(reasons))
    # Larger shares of fewer images would leave no image of the class in train.
    has_room = min_count >= MIN_IMAGES_OF_CLASS
    is_in_all_parts = min_count >= N_PARTS
    min_share = ceil(100 * len(class_counts) / sum(class_counts.values())) / 100 if is_in_all_parts else 0.0
    test, val = max(TEST_SHARE, min_share), max(VAL_SHARE, min_share)
    n_train = min_count - ceil(test * min_count) - ceil(val * min_count)
    folds = None if n_train >= DEFAULT_FOLDS else max(MIN_FOLDS, n_train)
    name = min(class_counts, key=class_counts.__getitem__)
    if has_room:
        fewer_folds = "" if folds is None else f", {folds} folds"
        reasons.append(f"exact shares{fewer_folds}, because class {name!r} has only {min_count} images")
    else:
        reasons.append(f"class {name!r} has {min_count} images, fit needs {MIN_IMAGES_OF_CLASS} or more of each class")
    return SizeSettings(drop, True, test, val, folds, "; ".join(reasons))


def propose_folds(n_groups: int, folds: int | None) -> int | None:
    """Return the number of folds that so many groups allow; None for the default.

    Parameters
    ----------
    n_groups
        Number of groups that are never split.
    folds
        Number of folds that the classes allow; None for the default.

    Examples
    --------
    >>> propose_folds(100, None), propose_folds(8, None)
    (None, 3)
    """
    n_folds = max(MIN_FOLDS, min(folds or DEFAULT_FOLDS, int(MIN_TRAIN_GROUPS * n_groups)))
    return folds if n_folds == (folds or DEFAULT_FOLDS) else n_folds
