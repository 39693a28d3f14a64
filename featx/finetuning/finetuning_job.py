"""Jobs of fine-tuning: all inputs that determine one run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from featx.files.atomic import file_sha256
from featx.finetuning.distillation import find_teacher
from featx.finetuning.grid_search import AfterEpoch
from featx.finetuning.phase import do_nothing
from featx.finetuning.phase_inputs import PhaseInputs
from featx.networks.backbones import get_backbone
from featx.networks.features import weights_path
from featx.progress import ProgressCallback
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec
from featx.study.run_folder import RunFolder
from featx.study.run_settings import RunDescription
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
        The network and its training, canonical (`featx.finetuning.canonical_spec`).
    engine
        Devices and workers.
    inputs
        The images of the study as inputs.
    descriptions
        Fingerprint of each spec of the call → what distinguishes its run.
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
    descriptions: Mapping[str, RunDescription]
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
        finetune = self.spec.identity()
        if self.spec.choose_by == "score":
            finetune["choose_by"] = self.study.metric(self.target)
        if self.teacher is not None:
            finetune["distillation"]["teacher"] = self.teacher.name
        return NetworkRunSpec(
            rules=RULES["network"],
            train=self.study.train_state(self.target, self.group_columns),
            finetune=finetune,
            weights_sha256="none" if file is None else file_sha256(file),
            decoding=self.request.decoding.identity(),
            val=self.study.val_state(self.target) if self.spec.monitor == "val" else None,
            section=self.section,
            teacher_sha256=None if self.teacher is None else self.teacher.body_sha256,
        )

    @cached_property
    def teacher(self) -> RunFolder | None:
        """The run whose probabilities the network learns; None if it learns the labels."""
        distillation = self.spec.distillation
        return None if distillation is None else find_teacher(self.study, self.target, distillation)

    @cached_property
    def request(self) -> EmbeddingRequest:
        """The backbone with the preprocessing and decoding of the recipe."""
        return self.study.recipe.completed(self.spec.request)

    @property
    def description(self) -> RunDescription:
        """The label of the run, and the settings that distinguish it from the other runs of the call."""
        return self.descriptions[f"{self.section}/{self.spec.fingerprint()}"]

    @cached_property
    def group_columns(self) -> list[str]:
        """The columns of the groups that weigh the same."""
        return self.study.recipe.group_columns(self.spec.group_weight)
