"""What is asked for, written down: small frozen specs whose fingerprints name results.

Two equal specs have one fingerprint, and any field that differs changes it; a result is kept in a folder named
by the fingerprint of its spec, so the same question is never computed twice.
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
