"""Samples of the rows of a study in which each class keeps its share, and their decoded images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.model_selection import StratifiedShuffleSplit

from featx.errors import DataError, ReadError
from featx.images.decode import decode
from featx.images.sources import read_unchanged
from featx.specs.base import fingerprint
from featx.specs.embedding import Decoding
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth


@dataclass(frozen=True, eq=False)
class SampledRows:
    """Rows of one target with images that are changed.

    Attributes
    ----------
    part
        ``val`` or ``test``.
    ids
        Ids of the n images.
    digests
        Digests of the images, as the last extraction recorded them.
    uris
        Places of the images.
    truth
        True values of the rows.
    n_rows
        Number of rows of the part, of which these are a sample.
    """

    part: str
    ids: Ids
    digests: tuple[str, ...]
    uris: tuple[str, ...]
    truth: AnyTruth
    n_rows: int

    @property
    def key(self) -> str:
        """Fingerprint (16 hex digits) of the ids and the contents of the images."""
        return fingerprint([list(self.ids), list(self.digests)])


def targets_of(study: Study, target: str | None, runs: Sequence[str] | None) -> list[str]:
    """Return the chosen target, else the targets of the named runs, else those of the recipe.

    Parameters
    ----------
    target
        Name of the chosen target, if there is one.
    runs
        Names of runs, beginnings of names, or labels; None or empty for no names.

    Raises
    ------
    DataError
        There is no such target, or no such run.
    """
    names = study.target_names(target)
    if len(names) == 1 or not runs:
        return names
    targets = {run.spec.target for run in study.runs(names=runs)}
    return [name for name in names if name in targets]


def only_target(names: Sequence[str], runs: Sequence[str] | None = None) -> str:
    """Return the name of the only target.

    Parameters
    ----------
    names
        Names of the targets.
    runs
        Names of the runs that predict these targets, for messages; None or empty for all runs of the recipe.

    Raises
    ------
    DataError
        there is none, or there are several.
    """
    if not names:
        raise DataError("the recipe has no target, so that no run predicts anything; add [targets.NAME]")
    if len(names) > 1:
        subject = f"runs called {' or '.join(map(repr, runs))} predict" if runs else "the recipe has"
        raise DataError(f"{subject} {len(names)} targets ({', '.join(names)}); name one as the target")
    return names[0]


def sample_rows(study: Study, truth: AnyTruth, part: str, n_images: int, seed: int) -> SampledRows:
    """Return a sample of the rows of a part, in which each class keeps its share.

    Labels are sampled by their rarest label, numbers by fifths (`featx.tables.target_values.TargetValues.strata`).

    Raises
    ------
    DataError
        the part has no rows.
    """
    all_ids = study.ids(part)
    if not len(all_ids):
        raise DataError(f"the split has no {part} rows; set 'split.{part} = 0.2' or provide a {part} part")
    strata = TargetValues.of(truth.take(all_ids)).strata()
    ids = np.asarray(all_ids, dtype=object)[sample_positions(strata, n_images, seed)]
    images = study.manifest.take(ids)
    return SampledRows(part, ids, tuple(images.digests), tuple(images.uris), truth.take(ids), len(all_ids))


def sample_positions(strata: NDArray[np.int64], n: int, seed: int) -> NDArray[np.intp]:
    """Return n positions in increasing order, with the share of each stratum where every stratum has two rows."""
    if n >= len(strata):
        return np.arange(len(strata))
    counts = np.unique(strata, return_counts=True)[1]
    if counts.min() < 2 or min(n, len(strata) - n) < len(counts):
        return np.sort(np.random.default_rng(seed).choice(len(strata), n, replace=False))
    split = StratifiedShuffleSplit(1, train_size=n, random_state=seed)
    return np.sort(next(split.split(strata, strata))[0])


def read_picture(image_id: str, uri: str, digest: str, decoding: Decoding) -> Image.Image:
    """Return a decoded image.

    Raises
    ------
    DataError
        the image is gone, unreadable or changed since the extraction.
    """
    try:
        content = read_unchanged(uri, digest)
        if content is None:
            raise DataError(
                f"image {image_id!r} has changed since the extraction; run 'featx extract' and make the runs again"
            )
        return decode(content, decoding)
    except (ReadError, FileNotFoundError) as error:
        raise DataError(f"image {image_id!r} cannot be read any more: {error}") from error
