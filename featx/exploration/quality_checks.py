"""Quality checks of images: dark, bright, blurry, flat, odd in size or shape, grey among colour, with borders.

An image is reported if a property is beyond an absolute limit and, at the same time, unusual among the images of this
study, by its distance from their median in robust standard deviations. So a study of dark images has no dark ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.exploration.analysis import AnalysisResult, Highlight, count_text
from featx.exploration.explored_images import ExploredImages
from featx.progress import ProgressCallback

Values = NDArray[np.float64]
# Robust standard deviations from the median from which on a value is unusual (Iglewicz and Hoaglin, 1993).
MIN_ROBUST_Z = 3.5
# The median absolute deviation of normal values times this is their standard deviation.
MAD_TO_SD = 1.4826
# The distance between these percentiles of normal values is this many standard deviations.
WIDE_PERCENTILES, WIDE_SDS = (10, 90), 2.563
# Grey images are reported if they are at most this share of the images.
MAX_GREY_SHARE = 0.2
# Value before logarithms, so that 0 has one.
MIN_LOG_ARGUMENT = 1e-6


@dataclass(frozen=True)
class QualityCheck:
    """One check of a property.

    Attributes
    ----------
    name
        Name of the check, which completes "… images are".
    rule
        Rule in words, for the page and the documentation.
    measure
        Function of the table of properties that returns the (n,) checked values; larger is more suspicious.
    limit
        Value above which an image can be reported.
    min_sd
        Standard deviation that is assumed at least, so that tiny differences among equal images are not unusual.
    column
        Property that is shown beside the image.
    needs_unusual
        Whether the value has to be unusual among the images as well.
    """

    name: str
    rule: str
    measure: Callable[[pd.DataFrame], Values]
    limit: float
    min_sd: float
    column: str
    needs_unusual: bool = True

    def find(self, properties: pd.DataFrame) -> "pd.Series[float]":
        """Return the values of the images that fail, the most suspicious first, indexed by id."""
        values = self.measure(properties)
        fails = values > self.limit
        if self.needs_unusual:
            fails &= robust_z(values, self.min_sd) > MIN_ROBUST_Z
        failed_values = pd.Series(values[fails], index=properties.index[fails])
        return failed_values.sort_values(ascending=False, kind="stable")


def robust_z(values: Values, min_sd: float) -> Values:
    """Return the (n,) distances from the median in robust standard deviations of at least `min_sd`.

    The standard deviation is the larger of those from the median absolute deviation, which is 0 where most values are
    equal, and from the 10th and 90th percentiles.
    """
    median = np.median(values)
    low, high = np.percentile(values, WIDE_PERCENTILES)
    sd = max(MAD_TO_SD * np.median(np.abs(values - median)), (high - low) / WIDE_SDS, min_sd)
    z: Values = (values - median) / sd
    return z


def _column(name: str, sign: float = 1.0) -> Callable[[pd.DataFrame], Values]:
    return lambda properties: sign * properties[name].to_numpy(np.float64)


def _blur(properties: pd.DataFrame) -> Values:
    sharpness = np.log(properties["sharpness"].to_numpy(np.float64) + MIN_LOG_ARGUMENT)
    return np.asarray(np.median(sharpness) - sharpness)


def _deviation(values: Values) -> Values:
    """Return the factors by which values are above or below their median, as logarithms."""
    logs = np.log(np.maximum(values, MIN_LOG_ARGUMENT))
    return np.asarray(np.abs(logs - np.median(logs)))


def _aspect(properties: pd.DataFrame) -> Values:
    return _deviation(properties["aspect_ratio"].to_numpy(np.float64))


def _size(properties: pd.DataFrame) -> Values:
    return _deviation(np.sqrt(properties["width_px"].to_numpy(np.float64) * properties["height_px"].to_numpy()))


def _grey(properties: pd.DataFrame) -> Values:
    is_grey = properties["is_grey"].to_numpy(np.float64)
    return is_grey if is_grey.mean() <= MAX_GREY_SHARE else np.zeros(len(is_grey))


CHECKS = (
    QualityCheck("dark", "95 % of the pixels are below 0.3", _column("brightness_p95", -1), -0.3, 0.02, "brightness"),
    QualityCheck("bright", "95 % of the pixels are above 0.75", _column("brightness_p05"), 0.75, 0.02, "brightness"),
    QualityCheck("low in contrast", "contrast is below 0.05", _column("contrast", -1), -0.05, 0.01, "contrast"),
    QualityCheck("blurry", "sharpness is below half of the median", _blur, float(np.log(2)), 0.1, "sharpness"),
    QualityCheck("low in information", "entropy is below 3 bits", _column("entropy_bits", -1), -3, 0.2, "entropy_bits"),
    QualityCheck(
        "odd in shape",
        "aspect ratio is 1.5 times the median or more, or 1.5 times below it",
        _aspect,
        float(np.log(1.5)),
        0.05,
        "aspect_ratio",
    ),
    QualityCheck(
        "odd in size", "side is twice the median or more, or below half of it", _size, float(np.log(2)), 0.1, "width_px"
    ),
    QualityCheck(
        "grey among colour images",
        f"grey, where at most {MAX_GREY_SHARE:.0%} of the images are",
        _grey,
        0.5,
        1.0,
        "colourfulness",
        needs_unusual=False,
    ),
    QualityCheck(
        "framed by a border",
        "uniform borders cover more than 10 % of the area",
        _column("border_share"),
        0.1,
        0.02,
        "border_share",
    ),
)


def check_quality(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the images that fail each check, and the number of them."""
    properties = images.properties.dropna(subset=["width_px"])
    issues = [_issues(check, properties) for check in CHECKS] if len(properties) else [_issues(CHECKS[0], properties)]
    table = pd.concat(issues, ignore_index=True)
    counts = {check.name: int((table["check"] == check.name).sum()) for check in CHECKS}
    checks = pd.DataFrame(
        [(check.name, counts[check.name], check.rule) for check in CHECKS], columns=["check", "n", "rule"]
    )
    facts = {"n_images": int(table["id"].nunique()), "n_by_check": {name: n for name, n in counts.items() if n}}
    return AnalysisResult({"quality_issues": table, "quality_checks": checks}, facts, _highlights(table, counts))


def _issues(check: QualityCheck, properties: pd.DataFrame) -> pd.DataFrame:
    failed_values = check.find(properties) if len(properties) else pd.Series(dtype=np.float64)
    values = properties.loc[failed_values.index, check.column].to_numpy(np.float64)
    return pd.DataFrame({"check": check.name, "id": failed_values.index, "property": check.column, "value": values})


def _highlights(table: pd.DataFrame, counts: dict[str, int]) -> tuple[Highlight, ...]:
    if not len(table):
        return ()
    counts_text = ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1]) if n)
    n_images = table["id"].nunique()
    return (
        Highlight(
            f"{count_text(n_images, 'image')} may be of poor quality: {counts_text}; first {table['id'].iloc[0]!r}"
        ),
    )
