"""Everything that is known before the first noisy image: runs, images, files, and the expected time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featx.embeddings.devices import find_device
from featx.errors import DataError, UnsuitedError
from featx.predictors.loading import load
from featx.predictors.models import Model
from featx.robustness.attacked_model import AttackedModel
from featx.robustness.attacked_rows import to_pixels
from featx.robustness.noise_votes import MAX_COPIES, NoiseVotes
from featx.robustness.pixel_embedder import make_embedders
from featx.robustness.sampled_rows import read_picture, sample_rows
from featx.specs.embedding import Preprocessing
from featx.specs.smoothing import SmoothingSpec
from featx.study.run_folder import RunFolder
from featx.study.run_spec import RULES, SmoothedRunSpec
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.truth import Truth


@dataclass(frozen=True)
class SmoothingJob:
    """A run to smooth, and the images that it classifies.

    Attributes
    ----------
    study
        The study.
    target
        Name of the target.
    spec
        The noise.
    base
        Folder of the run that is smoothed.
    model
        This run.
    ids
        Ids of the n images of val and test that are classified.
    certified_ids
        Ids of the val images that get a certificate.
    """

    study: Study
    target: str
    spec: SmoothingSpec
    base: RunFolder
    model: Model
    ids: Ids
    certified_ids: frozenset[str]

    @property
    def stem(self) -> str:
        """Beginning of the name of the smoothed run."""
        return f"{self.run_spec.stem}-{self.target}"

    @cached_property
    def run_spec(self) -> SmoothedRunSpec:
        """All that determines the smoothed run."""
        return SmoothedRunSpec(
            rules=RULES["smoothed"],
            train=self.base.spec.train,
            smoothing=self.spec.settings,
            base_stem=self.base.spec.stem,
            members={self.base.name: self.base.body_sha256},
        )

    @property
    def state_folder(self) -> Path:
        """Folder of the votes of an interrupted call."""
        return self.study.folder / f".smoothing-{self.run_spec.fingerprint()}"

    @cached_property
    def votes(self) -> NoiseVotes:
        """The run applied to noisy copies."""
        return make_votes(self.model, self.spec, find_device(self.study.recipe.extraction.device))

    @property
    def side_px(self) -> int | None:
        """Side of the images that get the noise; None for decoded images."""
        return self.votes.model.side_px if self.spec.noise_at == "network" else None

    def pixels(self, image: str) -> Tensor:
        """Return the (3, h, w) pixels of an image, to which noise is added.

        Raises
        ------
        DataError
            The image is gone, unreadable or changed since the extraction.
        """
        rows = self.study.manifest.take([image])
        picture = read_picture(image, rows.uris[0], rows.digests[0], self.study.recipe.decoding)
        return to_pixels([picture], noise_size(self.votes.model, self.spec))[0]

    def digest(self, image: str) -> str:
        """Return the digest of an image, which decides its noise."""
        return str(self.study.manifest.take([image]).digests[0])

    @cached_property
    def seconds_per_pass(self) -> float:
        """Measured seconds of one pass of one noisy copy."""
        pixels, source = self.pixels(str(self.ids[0])), np.random.default_rng(0)
        # The first pass of a network takes longer.
        self.votes.count(pixels, 2, source)
        start = time.perf_counter()
        self.votes.count(pixels, MAX_COPIES, source)
        return (time.perf_counter() - start) / MAX_COPIES

    @property
    def n_passes(self) -> int:
        """Number of passes of all images."""
        return len(self.ids) * self.spec.n0 + len(self.certified_ids) * self.spec.n

    @property
    def expected_s(self) -> float:
        """Expected duration in seconds."""
        return self.n_passes * self.seconds_per_pass


def noise_size(model: AttackedModel, spec: SmoothingSpec) -> Preprocessing | None:
    """Return the size to resize and crop to before the noise is added; None for decoded images."""
    return model.preprocessing if spec.noise_at == "network" else None


def make_votes(model: Model, spec: SmoothingSpec, device: torch.device) -> NoiseVotes:
    """Return a loaded run applied to noisy copies.

    Raises
    ------
    UnsuitedError
        The members of an ensemble resize images in different ways, and the noise is to be added after that.
    """
    embedders = make_embedders([model], resizes=spec.noise_at == "picture")
    identity_scaling = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    sizes = {embedder.network.preprocessing.model_copy(update=identity_scaling) for embedder in embedders}
    if len(sizes) > 1 and spec.noise_at == "network":
        sides = ", ".join(map(str, sorted({size.size_px for size in sizes})))
        raise UnsuitedError(
            f"members of {model.name} resize images in {len(sizes)} ways (to {sides} px), so that a certificate has no "
            "common size; set noise_at = 'picture' for a certificate of the decoded images, or smooth a member"
        )
    attacked_model = AttackedModel(model, needs_gradient=False, embedders=embedders)
    return NoiseVotes(attacked_model.to(device), spec.sigma, device)


def prepare_smoothing(study: Study, spec: SmoothingSpec) -> SmoothingJob:
    """Load a run and choose the images that it classifies and certifies; nothing is computed yet.

    Raises
    ------
    UnsuitedError
        The target has no classes.
    DataError
        There are no val rows, or no run or several have the name, or it is a smoothed run.
    """
    base = _find_base(study, spec)
    labels = study.labels(base.spec.target)
    if not isinstance(labels, Truth):
        raise UnsuitedError(
            f"{base.name} predicts {labels.kind}; smoothing certifies the prediction of a target of classes"
        )
    if not len(study.ids("val")):
        raise DataError("the split has no val rows to certify; set 'split.val = 0.15'")
    model = load(base.path)
    if list(model.classes) != list(labels.classes):
        raise DataError(f"{base.name} predicts {list(model.classes)!r}, expected {list(labels.classes)!r}")
    certified_ids = sample_rows(study, labels, "val", spec.images, spec.seed).ids
    ids = np.concatenate([study.ids(part) for part in ("val", "test")])
    return SmoothingJob(study, base.spec.target, spec, base, model, ids, frozenset(map(str, certified_ids)))


def _find_base(study: Study, spec: SmoothingSpec) -> RunFolder:
    """Return the run that a spec names; runs that are smoothed already are left out unless they alone match."""
    runs = study.runs(spec.target, [spec.run])
    unsmoothed_runs: Sequence[RunFolder] = [run for run in runs if run.kind != "smoothed"]
    if not unsmoothed_runs:
        raise DataError(f"{runs[0].name} is a smoothed run; name the run that it smooths")
    if len(unsmoothed_runs) > 1:
        raise DataError(
            f"{spec.run!r} matches {len(unsmoothed_runs)} runs: {', '.join(run.name for run in unsmoothed_runs)}; "
            "name one"
        )
    return unsmoothed_runs[0]
