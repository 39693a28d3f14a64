"""Smoothed runs as models that predict images by votes over noisy copies."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featx.artifacts.artifact import read_member_headers
from featx.artifacts.certificates import read_smoothing
from featx.artifacts.header import Header, find_sibling_run
from featx.embeddings.devices import find_device
from featx.embeddings.files import EmbeddedFiles
from featx.errors import ArtifactError, ReadError
from featx.images.contents import digest
from featx.images.decode import decode
from featx.images.sources import read_content
from featx.predictors.models import Columns, Model
from featx.predictors.prediction import Prediction, warn_unreadable
from featx.robustness.attacked_rows import to_pixels
from featx.robustness.noise_votes import NoiseVotes, noise_source
from featx.robustness.smoothing_job import make_votes, noise_size
from featx.specs.sequences import as_tuple
from featx.specs.smoothing import SmoothingSpec
from featx.tables.ids import Floats

# Threads that predict with one model share its networks, which the first of them builds.
VOTES_LOCK = threading.Lock()


@dataclass(frozen=True)
class SmoothedModel(Model):
    """A run that classifies by a vote over noisy copies of an image.

    Attributes
    ----------
    base
        The run that is smoothed.
    spec
        The noise.
    """

    base: Model
    spec: SmoothingSpec

    def predict_columns(self, columns: Columns) -> Floats:
        """Raise an error, because noise is added to images and not to embeddings.

        Raises
        ------
        ArtifactError
            Always.
        """
        raise ArtifactError(f"{self.name} is a smoothed run and takes images, not embeddings; use 'predict_images'")

    def predict_proba(self, x: Any) -> Floats:
        """Raise an error, as `predict_columns` does."""
        return self.predict_columns(x)

    def predict_images(self, images: Sequence[str | Path] | str | Path, device: str = "auto") -> Prediction:
        """Return the shares of the `n0` votes for all readable images; an image gets the same noise every time.

        A warning names unreadable images, which have no row in the prediction.

        Parameters
        ----------
        images
            Paths of images, or a single path.
        device
            ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        """
        paths = [str(path) for path in as_tuple(images)]
        votes = self._votes(device)
        shares: dict[str, Floats] = {}
        failure_reasons: dict[str, str] = {}
        for path in dict.fromkeys(paths):
            try:
                shares[path] = self._shares(votes, path)
            except (ReadError, FileNotFoundError) as error:
                failure_reasons[path] = str(error)
        readable_paths = [path for path in paths if path in shares]
        prediction = self._prediction(readable_paths, [shares[path] for path in readable_paths], failure_reasons, [])
        warn_unreadable(prediction)
        return prediction

    def predict_listed(self, embedded_files: EmbeddedFiles, uris: Mapping[str, str], device: str) -> Prediction:
        """Return the shares of the `n0` votes for images that are read once more."""
        votes = self._votes(device)
        shares = [self._shares(votes, uris[image]) for image in embedded_files.images]
        return self._prediction(embedded_files.images, shares, embedded_files.unreadable, embedded_files.warnings)

    def _prediction(
        self, images: Sequence[str], shares: Sequence[Floats], failure_reasons: dict[str, str], warnings: Sequence[str]
    ) -> Prediction:
        proba = np.stack(shares) if shares else np.empty((0, len(self.classes)))
        notes = [*warnings, *self.version_warnings]
        return Prediction(list(images), proba, self.classes, failure_reasons, notes, conformal=self.header.conformal)

    def _votes(self, device: str) -> NoiseVotes:
        """Return the run applied to noisy copies on a device, which is built once."""
        with VOTES_LOCK:
            if device not in self._built_votes:
                self._built_votes[device] = make_votes(self.base, self.spec, find_device(device))
            return self._built_votes[device]

    @cached_property
    def _built_votes(self) -> dict[str, NoiseVotes]:
        return {}

    def _shares(self, votes: NoiseVotes, uri: str) -> Floats:
        """Return the (k,) shares of the votes for one image."""
        content = read_content(uri)
        picture = decode(content, self.base.embeddings[0].request.decoding)
        (pixels,) = to_pixels([picture], noise_size(votes.model, self.spec))
        return votes.count(pixels, self.spec.n0, noise_source(digest(content), self.spec.seed)) / self.spec.n0


def load_smoothed(folder: Path, header: Header, load_member: Callable[[Path], Model]) -> SmoothedModel:
    """Return a smoothed run with the run that it smooths, after both have been verified.

    Parameters
    ----------
    folder, header
        Folder and header of the run.
    load_member
        Function that loads the run that is smoothed.
    """
    # This raises an error if the smoothed run is missing or has changed.
    read_member_headers(folder, header)
    base, spec = read_smoothing(folder, header)
    return SmoothedModel(folder.name, header, folder, load_member(find_sibling_run(folder, base)), spec)
