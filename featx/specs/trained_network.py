"""Spec of a fine-tuned network: its parts, and the mapping from its outputs to predictions."""

from featx.specs.base import Count, Spec
from featx.specs.embedding import EmbeddingRequest, Preprocessing
from featx.specs.finetuning import LayersSpec, LossSpec


class NetworkSpec(Spec):
    """The parts of a fine-tuned network, and the mapping from its outputs to predictions.

    Attributes
    ----------
    request, preprocessing
        The backbone that training started from, and the preprocessing of its input.
    layers, loss
        The added layers, and the loss that they were trained with.
    n_outputs
        Number of outputs m.
    offset, factor
        Scaling of numbers, one value per output: prediction = output × factor + offset.
    values
        Value of each class, for numbers learnt as classes. The prediction is their mean weighted by probability.
    class_weights
        Class weights used in training, which are divided out of the probabilities; empty if all were equal.
    """

    request: EmbeddingRequest
    preprocessing: Preprocessing
    layers: LayersSpec
    loss: LossSpec
    n_outputs: Count
    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    class_weights: tuple[float, ...] = ()
