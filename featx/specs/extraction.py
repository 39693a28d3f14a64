"""Specs of how and where an extraction runs: on this machine or on a cluster."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from featx.specs.base import Count, Spec

Runtime = Literal["torch", "compile", "onnx", "openvino"]


class EngineSpec(Spec):
    """Settings of extraction and training on a machine; none changes a number once the precision is chosen.

    Attributes
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers
        Number of decoding processes; by default one per core, at most 4.
    batch_size
        Images that a worker gets at a time. The batch size of the network is fixed.
    runtime
        ``torch``, ``compile`` (``torch.compile``: its minute of compilation pays for many images), ``onnx`` or
        ``openvino`` (CPU, extra ``cpu``); ``auto`` benchmarks the installed ones on the first images.
    min_cosine
        Minimum cosine similarity between vectors in reduced precision and in fp32, on the images that are compared and
        as estimated from these for all others (`featx.embeddings.deviation.Deviation`).
    segment_rows
        Maximum number of rows that are collected before they are stored; a killed extraction loses at most these.
    gpus
        Number of GPUs that one network is trained on.
    search_gb
        Maximum memory in GB that the trials of a head's search may share.
    boundary_gb
        Maximum size in GB of the cached activations of one boundary; above it, frozen layers run in every epoch.
    """

    device: str = "auto"
    workers: Count | None = None
    batch_size: Count = 16
    runtime: Literal["auto", Runtime] = "auto"
    min_cosine: Annotated[float, Field(gt=0, lt=1)] = 0.999
    segment_rows: Count = 1024
    gpus: Count = 1
    search_gb: Annotated[float, Field(ge=0)] = 2.0
    boundary_gb: Annotated[float, Field(ge=0)] = 50.0


class ClusterSpec(Spec):
    """Dask workers that share the work; they change no number of an embedding.

    Attributes
    ----------
    scheduler
        Address of a running scheduler, ``tls://HOST:PORT`` or ``tcp://HOST:PORT``. This process and the workers
        unpickle its messages, which runs any code in them.
    workers_local
        Number of processes to start on this machine instead, until the work is done. They communicate by TLS with a key
        made for the call.
    """

    scheduler: str | None = None
    workers_local: Count | None = None

    @model_validator(mode="after")
    def _check_exactly_one_is_set(self) -> "ClusterSpec":
        if (self.scheduler is None) == (self.workers_local is None):
            raise ValueError("expected either a scheduler ('--scheduler tcp://HOST:PORT') or '--workers-local N'")
        return self
