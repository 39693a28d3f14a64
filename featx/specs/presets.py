"""Presets of a recipe: limits that make a smaller study of it, for a first look or a slow machine."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from featx.registry import suggest_names
from featx.specs.base import Count, LabelText, Spec
from featx.specs.data import ReaderSpec
from featx.specs.embedding import CHECKPOINT_PREFIX
from featx.specs.finetuning import FinetuneSpec, check_backbone
from featx.specs.head import HeadSpec
from featx.specs.sections import EmbeddingSection, FinetuneSection
from featx.specs.target import TargetSpec


def _check_name(name: str) -> str:
    """Return the name of a preset if it can be a part of a folder's name and of ``RECIPE#PRESET``."""
    if not re.fullmatch(r"\w[\w-]*", name) or re.fullmatch(r"repeat-\d+", name):
        raise ValueError(
            f"found {name!r}, expected a name of letters, digits, '_' and '-', other than those of outer splits "
            "('repeat-00', …)"
        )
    return name


PresetName = Annotated[str, AfterValidator(_check_name)]


class PresetSpec(Spec):
    """Limits that a preset sets; without a limit the recipe's own value stays.

    Attributes
    ----------
    sample
        Number of images, drawn as by `ReaderSpec.sample`.
    keep
        Label column → values that are studied, in place of the recipe's own (`ReaderSpec.keep`).
    balance
        Balance of the classes in the targets that have one; a sample may hold fewer images than these are to have.
    epochs
        Maximum number of epochs of each phase of training.
    trials
        Maximum number of settings that each search of a head tries.
    size_px
        Maximum side of the networks' input in pixels; each section needs a `size_px` that it limits, other than those
        of fine-tuned networks (``checkpoint:``), which take images of the size that they were trained with.
    backbones
        Backbone → backbone that takes its place, with that one's default weights; in `embeddings` of heads too.
    """

    sample: Count | None = None
    keep: dict[str, Annotated[tuple[LabelText, ...], Field(min_length=1)]] = Field(default_factory=dict)
    balance: Literal["none", "undersample"] | None = None
    epochs: Count | None = None
    trials: Annotated[int, Field(ge=0)] | None = None
    size_px: Annotated[int, Field(ge=8, le=4096)] | None = None
    backbones: dict[str, str] = Field(default_factory=dict)

    @field_validator("backbones")
    @classmethod
    def _check_backbones(cls, replacements: dict[str, str]) -> dict[str, str]:
        for name in (*replacements, *replacements.values()):
            check_backbone(name)
        return replacements

    def limit_data(self, data: ReaderSpec) -> ReaderSpec:
        """Return the source of the images within the limits."""
        changes = {"sample": self.sample, "keep": {**data.keep, **self.keep} or None}
        return data.model_copy(update={name: value for name, value in changes.items() if value is not None})

    def limit_target(self, target: TargetSpec) -> TargetSpec:
        """Return a target within the limits."""
        is_changed = self.balance is not None and target.balance != "none"
        return target.model_copy(update={"balance": self.balance}) if is_changed else target

    def limit_embedding(self, section: EmbeddingSection) -> EmbeddingSection:
        """Return an ``[[embedding]]`` within the limits."""
        return section.model_copy(update=self._limit_network(section))

    def limit_head(self, head: HeadSpec) -> HeadSpec:
        """Return a ``[[head]]`` within the limits."""
        return head if self.trials is None else head.model_copy(update={"trials": min(head.trials, self.trials)})

    def limit_finetuning(self, section: FinetuneSection) -> FinetuneSection:
        """Return a ``[[finetune]]`` within the limits; runs that become equal are one run."""
        runs = {run.fingerprint(): run for run in map(self._limit_run, section.runs)}
        return section.model_copy(update={"runs": tuple(runs.values())})

    def _limit_run(self, run: FinetuneSpec) -> FinetuneSpec:
        changes = self._limit_network(run)
        if self.epochs is not None:
            changes |= {"epochs": min(run.epochs, self.epochs), "phases": run.limit_phases(self.epochs)}
        return run.model_copy(update=changes)

    def find_ineffective_limits(
        self, embeddings: Sequence[EmbeddingSection], networks: Sequence[FinetuneSection]
    ) -> Iterator[str]:
        """Yield one message for each limit without effect on the networks of a recipe, with the path of its key."""
        items: list[tuple[str, EmbeddingSection | FinetuneSpec]] = [
            (f"embedding[{number}]", item) for number, item in enumerate(embeddings) if item.vectors is None
        ]
        items += [(f"finetune[{number}]", run) for number, section in enumerate(networks) for run in section.runs]
        backbones = {item.backbone for _, item in items}
        for name in self.backbones.keys() - backbones:
            yield f"backbones: no section has the backbone {name!r}; {suggest_names(name, sorted(backbones))}"
        for key, item in items:
            backbone = self.backbones.get(item.backbone, item.backbone)
            if self.size_px is not None and item.size_px is None and not backbone.startswith(CHECKPOINT_PREFIX):
                yield (
                    f"size_px: found {self.size_px}, but {key} ({item.backbone}) states no size_px to limit; "
                    "set size_px in that section too"
                )
                return

    def _limit_network(self, section: EmbeddingSection | FinetuneSpec) -> dict[str, object]:
        """Return the changed fields of the backbone and its input."""
        changes: dict[str, object] = {}
        if section.backbone in self.backbones:
            changes |= {"backbone": self.backbones[section.backbone], "weights": "default"}
        if self.size_px is not None and section.size_px is not None:
            changes["size_px"] = min(section.size_px, self.size_px)
        return changes
