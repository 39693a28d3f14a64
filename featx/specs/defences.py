"""Specs of defences in training: perturbed images, and the probabilities of a teacher."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from featx.specs.attacking import check_unit, parse_fraction
from featx.specs.base import Count, Spec


class AdversarialSpec(Spec):
    """Adversarial training: a part of each batch is perturbed so that its loss increases.

    Attributes
    ----------
    attack
        ``fgsm``: one step along the gradient, from a random start; ``pgd``: `steps` projected steps; ``free``: each
        batch is trained on `replays` times, and the backward pass that trains the weights also gives the gradient of
        the pixels, by which the perturbation of the next replay is changed.
    eps
        Largest change of a pixel, for pixels in [0, 1] after resizing: 8 levels of 255 are 0.0314.
    share
        Share of the images of each batch that are perturbed.
    steps
        Number of steps of ``pgd``.
    replays
        Number of times that ``free`` trains on each batch.
    """

    attack: Literal["fgsm", "pgd", "free"] = "pgd"
    eps: Annotated[float, BeforeValidator(parse_fraction), Field(gt=0)] = 8 / 255
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    steps: Count = 7
    replays: Annotated[int, Field(ge=2)] = 4

    @field_validator("eps")
    @classmethod
    def _check_unit(cls, eps: float) -> float:
        return check_unit(eps, ["linf"])

    @property
    def canonical(self) -> "AdversarialSpec":
        """The same training with the keys that its attack does not read at their defaults."""
        unused_names = {"pgd": ("replays",), "free": ("steps",), "fgsm": ("steps", "replays")}[self.attack]
        return self.model_copy(update={name: type(self).model_fields[name].default for name in unused_names})

    @property
    def n_replays(self) -> int:
        """Number of times that each batch is trained on."""
        return self.replays if self.attack == "free" else 1

    @property
    def cost_factor(self) -> float:
        """Duration of an epoch in units of an epoch without perturbations, if the whole network runs in both."""
        passes = {"fgsm": self.share, "pgd": self.share * self.steps, "free": self.replays - 1}
        return 1 + passes[self.attack]


class DistillationSpec(Spec):
    """Distillation: a network is trained on the softened probabilities of a finished run, its teacher.

    Attributes
    ----------
    teacher
        Name of the run, or its beginning; it predicts the same target on the same split.
    temperature
        Number by which the logarithms of probabilities are divided; greater ones make the classes more alike.
    """

    teacher: Annotated[str, Field(min_length=1)]
    temperature: Annotated[float, Field(ge=1, le=1000)] = 20.0
