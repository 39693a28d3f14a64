"""What does the work, written down: this machine, or a cluster."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from featx.specs.base import Count, Spec

Runtime = Literal["torch", "compile", "onnx", "openvino"]


class EngineSpec(Spec):
    """How an extraction runs; a precision once chosen, nothing of it changes a number.

    Attributes
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers
        Processes that decode; by default one a core, at most 4.
    batch_size
        Images that a worker gets at a time. What a network gets is fixed.
    runtime
        ``torch``, ``compile`` (``torch.compile``: worth its minute for many images), ``onnx`` or ``openvino`` (CPU,
        extra ``cpu``); ``auto`` tries those that are here on the first images.
    least_cosine
        That a reduced precision's vectors must have with fp32's, on the images that are tried, and as they make it
        expect on the others (`featx.embeddings.drift.Drift`).
    segment_rows
        Most rows that are gathered before they are stored: what a killed extraction loses at most.
    gpus
        That a network is trained on at once.
    search_gb
        Most that the trials of a head's search may keep for each other.
    boundary_gb
        Most that the activations of one boundary may take; for more, frozen layers run in every epoch.
    """

    device: str = "auto"
    workers: Count | None = None
    batch_size: Count = 16
    runtime: Literal["auto", Runtime] = "auto"
    least_cosine: Annotated[float, Field(gt=0, lt=1)] = 0.999
    segment_rows: Count = 1024
    gpus: Count = 1
    search_gb: Annotated[float, Field(ge=0)] = 2.0
    boundary_gb: Annotated[float, Field(ge=0)] = 50.0


class ClusterSpec(Spec):
    """Dask workers that share the work; they change no number of an embedding.

    Attributes
    ----------
    scheduler
        Address of a scheduler that runs, ``tls://HOST:PORT`` or ``tcp://HOST:PORT``. This process and the workers
        unpickle what it sends, which runs any code that stands in it.
    workers_local
        Or processes to start here, for as long as the work takes; they talk by TLS with a key made for the call.
    """

    scheduler: str | None = None
    workers_local: Count | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "ClusterSpec":
        if (self.scheduler is None) == (self.workers_local is None):
            raise ValueError("expected either a scheduler ('--scheduler tcp://HOST:PORT') or '--workers-local N'")
        return self
