"""Frozen specs of data, models and runs, whose fingerprints name results.

Equal specs have equal fingerprints, and a change of any field changes the fingerprint. A result is stored under the
fingerprint of its spec, so that nothing is computed twice.
"""

from featx.specs.data import ArraySpec, LabelsSpec, ReaderSpec
from featx.specs.embedding import Decoding, EmbeddingRequest, EmbeddingSpec, Preprocessing
from featx.specs.ensembling import EnsembleSpec
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.finetuning import AugmentSpec, FinetuneSpec, LayersSpec, LossSpec, PhaseSpec, ScheduleSpec
from featx.specs.head import HeadSpec
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec

__all__ = [
    "ArraySpec",
    "AugmentSpec",
    "ClusterSpec",
    "Decoding",
    "EmbeddingRequest",
    "EmbeddingSpec",
    "EngineSpec",
    "EnsembleSpec",
    "FinetuneSpec",
    "HeadSpec",
    "LabelsSpec",
    "LayersSpec",
    "LossSpec",
    "PhaseSpec",
    "Preprocessing",
    "ReaderSpec",
    "ScheduleSpec",
    "SplitSpec",
    "TargetSpec",
]
