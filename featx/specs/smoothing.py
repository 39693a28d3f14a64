"""Spec of randomized smoothing: a vote of a finished run over noisy copies of an image, with certificates."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from featx.specs.attacking import parse_fraction
from featx.specs.base import Count, LabelText, Seed, Spec

# Noise of this standard deviation hides every image with pixels in [0, 1]; more is a number of levels in 0 … 255.
MAX_SIGMA = 5.0


class SmoothingSpec(Spec):
    """A finished run that classifies by a vote over noisy copies of an image.

    Attributes
    ----------
    run
        Name of the smoothed run, its short name, or the beginning of its name: a head, a network or an ensemble of
        classes.
    target
        Name of the target; needed if runs of several targets have the name.
    sigma
        Standard deviation of the normal noise, for pixels in [0, 1].
    n0
        Number of noisy copies that choose the prediction for an image.
    n
        Number of further copies that certify the prediction.
    alpha
        Largest probability that a certificate is wrong.
    images
        Number of val images that are certified; predictions are made for all images of val and test.
    noise_at
        Pixels that get the noise, in which the radius is measured: ``network``, those after resizing and cropping, or
        ``picture``, those of the decoded image.
    seed
        Seed of the noise.
    """

    run: Annotated[str, Field(min_length=1)]
    target: LabelText | None = None
    sigma: Annotated[float, BeforeValidator(parse_fraction), Field(gt=0)] = 0.25
    n0: Count = 100
    n: Count = 1000
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.001
    images: Count = 200
    noise_at: Literal["network", "picture"] = "network"
    seed: Seed = 0

    @field_validator("sigma")
    @classmethod
    def _check_unit(cls, sigma: float) -> float:
        if sigma > MAX_SIGMA:
            raise ValueError(
                f"found {sigma:g} for pixels in [0, 1]; if levels of 0 … 255 were meant, write {sigma / 255:.4g} "
                f"({sigma:g}/255)"
            )
        return sigma

    @property
    def settings(self) -> dict[str, Any]:
        """The fields that determine the predictions, without the names of the run and of the target."""
        return self.model_dump(mode="json", exclude={"run", "target"})
