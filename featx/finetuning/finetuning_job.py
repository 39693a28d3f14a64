"""Jobs of fine-tuning: all inputs that determine one run."""

from dataclasses import dataclass
from functools import cached_property

from featx.files.atomic import file_sha256
from featx.finetuning.grid_search import AfterEpoch
from featx.finetuning.phase import do_nothing
from featx.finetuning.phase_inputs import PhaseInputs
from featx.networks.backbones import get_backbone
from featx.networks.features import weights_path
from featx.progress import ProgressCallback
from featx.specs.base import Spec
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec, LossSpec, ScheduleSpec
from featx.study.run_spec import RULES, NetworkRunSpec
from featx.study.study import Study


@dataclass(frozen=True)
class FinetuningJob:
    """All inputs of one run.

    Attributes
    ----------
    study
        The study.
    target
        Name of the target.
    spec
        The network and its training.
    engine
        Devices and workers.
    inputs
        The images of the study as inputs.
    differing
        The keys in which the runs of the recipe differ.
    tensorboard
        Whether logs for TensorBoard are written.
    force
        Whether an existing run is trained again.
    progress
        Callback for progress.
    after_epoch
        Callback with the history after each epoch; it may raise to end the training.
    section
        Name of the section of the recipe; empty if it has none.
    """

    study: Study
    target: str
    spec: FinetuneSpec
    engine: EngineSpec
    inputs: PhaseInputs
    differing: tuple[str, ...]
    tensorboard: bool
    force: bool
    progress: ProgressCallback
    after_epoch: AfterEpoch = do_nothing
    section: str = ""

    @property
    def stem(self) -> str:
        """Beginning of the run's name."""
        backbone = self.spec.backbone.rpartition("/")[2]
        return "-".join([*filter(None, [self.section]), backbone.removesuffix("-"), self.spec.strategy, self.target])

    def run_spec(self) -> NetworkRunSpec:
        """Return all that determines the result of the run; its fingerprint names the folder."""
        file = weights_path(get_backbone(self.request.backbone), self.request.weights)
        return NetworkRunSpec(
            rules=RULES["network"],
            train=self.study.train_state(self.target, self.group_columns),
            finetune=self.spec.identity(),
            weights_sha256="none" if file is None else file_sha256(file),
            decoding=self.request.decoding.identity(),
        )

    @cached_property
    def request(self) -> EmbeddingRequest:
        """The backbone with the preprocessing and decoding of the recipe."""
        return self.study.recipe.completed(self.spec.request)

    @property
    def settings(self) -> dict[str, str]:
        """The keys in which the runs of the recipe differ, and their values as text."""
        return {name: _text(getattr(self.spec, name)) for name in self.differing}

    @cached_property
    def group_columns(self) -> list[str]:
        """The columns of the groups that weigh the same."""
        return self.study.recipe.group_columns(self.spec.group_weight)


def _text(value: object) -> str:
    """Return a setting as text for a table; of a spec, the fields that differ from their defaults."""
    if isinstance(value, Spec):
        fields = value.model_dump(mode="json", exclude_defaults=True)
        name = [value.name] if isinstance(value, LossSpec | ScheduleSpec) else []
        options = [f"{key} {option}" for key, option in fields.items() if key != "name"]
        return ", ".join([*name, *options]) or "default"
    if isinstance(value, tuple):
        return " → ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
