"""Certified accuracy of smoothed runs: the share of val images that are right within each radius, for any attack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.artifacts.certificates import read_certificates, read_smoothing
from featx.artifacts.header import read_header
from featx.metrics.certified_accuracy import CertifiedAccuracy, certified_accuracies, certified_radius
from featx.study.run_folder import RunFolder
from featx.study.smoothed_metrics import SmoothedMetrics
from featx.tables.truth import AnyTruth

# Number of radii of a curve, from 0 to the largest radius that the number of copies can certify.
N_RADII = 41
# Radii of tables, in units of the standard deviation of the noise.
TABLE_RADII = (0.0, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class CertifiedRun:
    """Certified accuracy of a smoothed run on a sample of val.

    Attributes
    ----------
    run, label
        Name and label of the run.
    base
        Name of the run that is smoothed.
    sigma, alpha
        Standard deviation of the noise, and largest probability that a certificate is wrong.
    n_images
        Number of images.
    n_copies
        Number of noisy copies that certify each image.
    side_px
        Side of the images in whose pixels radii are measured; None for decoded images.
    abstained
        Share of the images without a certificate.
    table
        Certified accuracy at the radii 0, ½, 1, 1½ and 2 `sigma`, as far as the copies can certify them.
    curve
        Certified accuracy at even radii up to the largest that the copies can certify.
    """

    run: str
    label: str
    base: str
    sigma: float
    alpha: float
    n_images: int
    n_copies: int
    side_px: int | None
    abstained: float
    table: list[CertifiedAccuracy]
    curve: list[CertifiedAccuracy]

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "CertifiedRun":
        """Return the run whose `dataclasses.asdict` is given."""
        curves = {name: [CertifiedAccuracy(**point) for point in fields[name]] for name in ("table", "curve")}
        return cls(**fields | curves)


def measure_certificates(runs: Sequence[RunFolder], truth: AnyTruth, labels: Mapping[str, str]) -> list[CertifiedRun]:
    """Return the certified accuracy of the smoothed runs, in their order.

    Parameters
    ----------
    runs
        Runs of any kind.
    truth
        True classes of the val rows.
    labels
        Name of a run → its label.
    """
    return [_measure(run, truth, labels[run.name]) for run in runs if run.kind == "smoothed"]


def _measure(run: RunFolder, truth: AnyTruth, label: str) -> CertifiedRun:
    header = read_header(run.path)[1]
    base, spec = read_smoothing(run.path, header)
    certificates = read_certificates(run.path, header)
    true = truth.take(certificates["id"].to_numpy(object))
    is_right = np.array(true.names, dtype=object)[true.values] == certificates["prediction"].to_numpy(object)
    radii = certificates["radius"].to_numpy(float)
    largest = certified_radius(spec.n, spec.n, spec.sigma, spec.alpha) or 0.0
    metrics = run.metrics
    assert isinstance(metrics, SmoothedMetrics)
    table_radii = [factor * spec.sigma for factor in TABLE_RADII if factor * spec.sigma <= largest]
    return CertifiedRun(
        run.name,
        label,
        base,
        spec.sigma,
        spec.alpha,
        len(radii),
        spec.n,
        metrics.side_px,
        float(np.isnan(radii).mean()),
        certified_accuracies(radii, is_right, table_radii),
        certified_accuracies(radii, is_right, np.linspace(0, largest, N_RADII).tolist()),
    )


def describe_size(run: CertifiedRun) -> str:
    """Return the pixels in which radii are measured."""
    return "decoded pixels" if run.side_px is None else f"pixels at {run.side_px} px"


def describe_certificates(run: CertifiedRun) -> str:
    """Return the certified accuracy of a run in one line."""
    point = run.table[min(1, len(run.table) - 1)]
    return (
        f"{run.label}, {point.accuracy:.3f} ({point.low:.3f} … {point.high:.3f}) within L2 radius {point.radius:.3g} "
        f"of {describe_size(run)}; {run.abstained:.0%} abstained"
    )
