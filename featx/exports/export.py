"""Export of runs for other software, with a measurement of the agreement with the run."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from featx.artifacts import skops_format
from featx.artifacts.artifact import load_head
from featx.artifacts.export_card import ExportCard, Format, Parity, card_file
from featx.artifacts.header import BODY_FILES, Header, read_header
from featx.artifacts.outputs import predict_outputs
from featx.artifacts.rescoring import update_val_scores
from featx.embeddings.fp32_extraction import is_reduced
from featx.embeddings.groups import NetworkGroup, network_groups
from featx.embeddings.read import read_embeddings
from featx.errors import DataError, MissingExtraError
from featx.exports.fp32_refit import check_precision_options, parity_with_source, refit_in_fp32
from featx.exports.onnx_sessions import open_session, run_on_images
from featx.exports.stored_outputs import measure_parity, stored_outputs
from featx.files.atomic import file_sha256, write_text
from featx.predictors.loading import load
from featx.predictors.models import Model
from featx.progress import ProgressCallback, no_progress
from featx.registry import suggest_names
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.recipe import Recipe
from featx.storage.leases import atomic_output
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.ids import Ids

if TYPE_CHECKING:
    from featx.exports.graph import Graph, Name

MAX_PARITY_ROWS = 500
REDUCED_PRECISION_CAUSE = "the run's embeddings are of reduced precision, the file computes in fp32"
# Name of the variable number of rows in shapes.
ROWS = "n"
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ExportedModel:
    """An exported model.

    Attributes
    ----------
    run
        Name of the run.
    content
        ``head`` (the input is embeddings) or ``full_model`` (the input is pixels).
    path, card
        Paths of the model's file and of its export card.
    n_bytes
        Size of the model's file in bytes.
    parity
        Agreement with the run.
    refit_of
        Name of the run whose setting was refitted and exported; None for a run of its own.
    source_parity
        Agreement with the run `refit_of`, if the refit is one in fp32; otherwise None.
    """

    run: str
    content: str
    path: str
    card: str
    n_bytes: int
    parity: Parity
    refit_of: str | None = None
    source_parity: Parity | None = None


def export(  # noqa: PLR0913 (all but three are keyword options, one for each of the command's)
    run: str,
    file_format: str = "onnx",
    recipe: str | Path | Recipe | None = None,
    *,
    out: str | Path = ".",
    precision: str | None = None,
    refit: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[ExportedModel]:
    """Write a head, a network or an ensemble for other software.

    A head is unpickled from its run first, which runs any code in it.

    Parameters
    ----------
    run
        Name of the run, or a prefix of it.
    file_format
        ``onnx``: one file with the head, and one with network and head; of a head on vectors that were made elsewhere
        the first alone. Of an ensemble by weighted mean or majority vote, one file with all networks and heads.
        ``skops``: the head, readable without running its code. ``joblib``: a copy of the head.
    recipe
        The recipe, or its path; by default ``$FEATX_RECIPE`` or ``./featx.toml``.
    out
        Folder to write to; an export card is written beside each file.
    precision, refit
        ``fp32`` and True export a head on embeddings of reduced precision faithfully: the embeddings are extracted in
        fp32, the head's setting is refitted on the same train rows, and this new run ``refit-fp32-…`` is exported. Its
        agreement with the original run is stated. A run in fp32 is exported as it is. By default nothing is refitted.
    progress
        Function that is called as the comparison with the run advances.

    Raises
    ------
    DataError
        There is no such run or format, the format does not fit the kind of run, there are no rows to compare, or one of
        `precision` and `refit` is given without the other.
    UnsuitedError
        The run to refit is no head.
    MissingExtraError
        A package is missing.

    Notes
    -----
    Parity is measured on val and test rows, on which no run is trained; test labels are not read.
    """
    if file_format not in get_args(Format):
        raise DataError(f"there is no format {file_format!r}; {suggest_names(file_format, list(get_args(Format)))}")
    check_precision_options(precision, refit)
    if file_format == "onnx":
        _check_onnx_packages()
    study, folder = Study.open(recipe), Path(out)
    chosen_run = _find_run(study, run)
    chosen_run = refit_in_fp32(study, chosen_run, progress) if refit else chosen_run
    exporter = _exporter(study, update_val_scores(study, chosen_run), file_format, folder, progress)
    folder.mkdir(parents=True, exist_ok=True)
    if file_format == "onnx":
        is_head = exporter.header.kind == "head"
        external = [item.request.name for item in exporter.header.embeddings if item.request.vectors is not None]
        if external and exporter.header.kind == "head":
            note = f"no file of network and head is written: {external[0]!r} holds vectors that were made elsewhere"
            progress("note", 0, 1, note)
            return [exporter.write_onnx_head()]
        return [exporter.write_onnx_head(), exporter.write_onnx()] if is_head else [exporter.write_onnx()]
    return [exporter.write_skops() if file_format == "skops" else exporter.write_joblib()]


def _find_run(study: Study, name: str) -> RunFolder:
    """Return the only run whose name begins with `name`, or raise `DataError`."""
    runs = study.runs(names=(name,), with_refits=True)
    if len(runs) > 1:
        raise DataError(
            f"{name!r} matches {len(runs)} runs: {', '.join(match.name for match in runs)}; name one of them"
        )
    return runs[0]


def _exporter(
    study: Study, run: RunFolder, file_format: str, folder: Path, progress: ProgressCallback
) -> "_RunExporter":
    """Return the exporter of a run, or raise `DataError` if the run cannot be exported in this format."""
    header = read_header(run.path)[1]
    if header.kind == "smoothed":
        raise DataError(
            f"{run.name} is a smoothed run, which classifies by a vote over noise; export the run it smooths"
        )
    if header.kind != "head" and file_format != "onnx":
        kind = "an ensemble" if header.kind == "ensemble" else "a network"
        raise DataError(f"{run.name} is {kind}; expected '--format onnx', found {file_format!r}")
    return _RunExporter(study, run, header, folder, progress)


def _check_onnx_packages() -> None:
    """Raise `MissingExtraError` if a package for ONNX is missing."""
    for package in ("onnx", "onnxruntime", "skl2onnx"):
        if find_spec(package) is None:
            raise MissingExtraError(f"ONNX needs {package}, which is not installed; run 'pip install \"featx[onnx]\"'")


@dataclass(frozen=True)
class _RunExporter:
    """Writer of the exported files of one head or network.

    Attributes
    ----------
    study
        Study that the run belongs to.
    run, header
        The run and its header.
    folder
        Folder to write to.
    progress
        Function that is called as the comparison with the run advances.
    """

    study: Study
    run: RunFolder
    header: Header
    folder: Path
    progress: ProgressCallback

    def write_onnx_head(self) -> ExportedModel:
        """Write the head alone as ONNX."""
        from featx.exports.graph import FLOAT, Graph
        from featx.exports.heads import add_head

        graph, d = Graph(), self.header.n_features
        x = graph.input("features", FLOAT, (ROWS, d))
        model = graph.build(add_head(graph, self._head(), x, d), self._output_shape, self._metadata)
        file = self.folder / f"{self.run.name}.head.onnx"
        _write_bytes(file, model.SerializeToString())
        (outputs,) = open_session(file).run(None, {"features": self._vectors()})
        return self._write_card("head", file, "onnx", {"features": self._vector_input()}, outputs)

    def write_onnx(self) -> ExportedModel:
        """Write networks, heads and their combination as one ONNX model, from pixels to predictions."""
        from featx.exports.graph import Graph
        from featx.exports.votes import add_model, check_exportable

        check_exportable(self._model)
        graph = Graph()
        vectors, groups = self._add_networks(graph)
        outputs = add_model(graph, self._model, vectors)
        file = self.folder / f"{self.run.name}.onnx"
        _write_bytes(file, graph.build(outputs, self._output_shape, self._metadata).SerializeToString())
        inputs = {name: _pixel_input(group) for name, group in groups.items()}
        batches = run_on_images(file, groups, self.study.manifest.take(self._ids), self.progress)
        return self._write_card("full_model", file, "onnx", inputs, np.concatenate(list(batches)))

    def _add_networks(self, graph: "Graph") -> "tuple[dict[str, Name], dict[str, NetworkGroup]]":
        """Add the networks, and return fingerprint of an embedding → name of its vectors, and input name → network."""
        from featx.embeddings.files import check_same_embeddings
        from featx.exports.graph import UINT8

        vectors: dict[Any, str] = {}
        inputs: dict[str, NetworkGroup] = {}
        embeddings = self._embeddings()
        groups = network_groups([embedding.request for embedding in embeddings])
        for number, group in enumerate(groups, start=1):
            specs = [embedding.spec for embedding in embeddings if embedding.request in group.requests]
            check_same_embeddings(group.specs(specs[0].precision), specs)
            name = "pixels" if len(groups) == 1 else f"pixels_{number}"
            side = group.resolved.specs[0].preprocessing.canvas_px
            graph.input(name, UINT8, (ROWS, side, side, 3))
            vectors |= dict(zip(group.requests, _add_network(graph, group, name), strict=True))
            inputs[name] = group
        return {embedding.spec.fingerprint(): vectors[embedding.request] for embedding in embeddings}, inputs

    def write_skops(self) -> ExportedModel:
        """Write the head in the skops format, which is read without running its code."""
        file = self.folder / f"{self.run.name}.skops"
        with atomic_output(file) as private:
            skops_format.dump(self._head(), Path(private))
        return self._finish_copy(file, "skops", skops_format.read(file))

    def write_joblib(self) -> ExportedModel:
        """Copy the head's pickle."""
        file = self.folder / f"{self.run.name}.joblib"
        model = self._head()
        with atomic_output(file) as private:
            shutil.copy(self.run.path / BODY_FILES["head"], private)
        return self._finish_copy(file, "joblib", model)

    def _finish_copy(self, file: Path, file_format: Format, model: Any) -> ExportedModel:
        """Compare a copied head with the run, and write its export card."""
        outputs = predict_outputs(model, self._vectors(), self.header.prediction_kind)
        return self._write_card("head", file, file_format, {"x": self._vector_input()}, outputs)

    def _write_card(
        self, content: str, file: Path, file_format: Format, inputs: dict[str, dict[str, Any]], outputs: Floats
    ) -> ExportedModel:
        """Compare outputs with those of the run, write the export card, and return the exported model."""
        expected_outputs = stored_outputs(self.run, self._model, self._ids)
        reason = self._cause_of_differences if content == "full_model" else ""
        parity = measure_parity(self.header, outputs, expected_outputs, "val and test", reason)
        source_parity = parity_with_source(self.study, self.run, self.header, self._model)
        output = {"shape": list(self._output_shape), "kind": self.header.prediction_kind, "names": self.header.names}
        card = ExportCard(
            run=self.run.name,
            file_format=file_format,
            sha256=file_sha256(file),
            inputs=inputs,
            outputs={"predictions": output},
            parity=parity,
            header=self.header,
            source_parity=source_parity,
        )
        write_text(card_file(file), card.model_dump_json(indent=2))
        return ExportedModel(
            self.run.name,
            content,
            str(file),
            str(card_file(file)),
            file.stat().st_size,
            parity,
            self.run.refit_of,
            source_parity,
        )

    def _head(self) -> Any:
        """Return the fitted Pipeline."""
        return load_head(self.run.path, self.header)

    @cached_property
    def _model(self) -> Model:
        """The run as a model."""
        return load(self.run.path)

    def _embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """Return the embeddings of all networks; for a fine-tuned network, its outputs."""
        return self._model.local_embeddings

    @property
    def _cause_of_differences(self) -> str:
        """Cause of differences between a whole model and the run, with the next step; empty if the run is in fp32."""
        if not any(is_reduced(embedding.spec) for embedding in self._embeddings()):
            return ""
        is_head = self.header.kind == "head"
        next_step = "export with '--precision fp32 --refit'" if is_head else "extract with precision = 'fp32'"
        return f"{REDUCED_PRECISION_CAUSE}; {next_step}"

    @property
    def _output_shape(self) -> tuple[str | int, ...]:
        """Shape of the model's output."""
        return ROWS, len(self.header.names)

    @property
    def _metadata(self) -> dict[str, str]:
        """Metadata of the ONNX model."""
        return {"run": self.run.name, "kind": self.header.prediction_kind, "names": "\n".join(self.header.names)}

    @property
    def _ids(self) -> Ids:
        """Ids of the rows that parity is measured on."""
        ids = np.concatenate([self.study.ids("val"), self.study.ids("test")])[:MAX_PARITY_ROWS]
        if not len(ids):
            raise DataError("found no val or test rows to compare; set val or test in [split], and fit again")
        return ids

    def _vector_input(self) -> dict[str, Any]:
        """Return the export card's description of vectors as input."""
        names = [embedding.request.name for embedding in self.header.embeddings]
        return {"type": "float32", "shape": [ROWS, self.header.n_features], "embeddings": names}

    def _vectors(self) -> NDArray[np.float32]:
        """Return the vectors (n, d) of the rows that parity is measured on."""
        return read_embeddings(self.study, self._ids, self.header.embeddings).x


def _add_network(graph: "Graph", group: NetworkGroup, pixels: str) -> list[str]:
    """Add a group's network, and return the names of its vectors in the order of the requests."""
    import onnx

    model = onnx.load_from_string(group.portable.as_onnx(None))
    return graph.add_model(model, {model.graph.input[0].name: pixels})


def _pixel_input(group: NetworkGroup) -> dict[str, Any]:
    """Return the export card's description of pixels as input: their shape, preprocessing and decoding."""
    preprocessing = group.resolved.specs[0].preprocessing
    side = preprocessing.canvas_px
    resizing = preprocessing.model_dump(mode="json", include={"resize", "crop_share", "interpolation"})
    decoding = group.requests[0].decoding.model_dump(mode="json")
    return {"type": "uint8", "shape": [ROWS, side, side, 3], "colours": "RGB", **resizing, "decoding": decoding}


def _write_bytes(file: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    with atomic_output(file) as private:
        Path(private).write_bytes(content)
