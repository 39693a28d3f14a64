"""Write a run for other software, and measure how far what was written answers as the run does."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from featx.artifacts import skops_format
from featx.artifacts.artifact import ensemble_body, load_head
from featx.artifacts.export_card import ExportCard, Format, Parity, card_file
from featx.artifacts.header import BODIES, Header, read_header
from featx.artifacts.outputs import predict_outputs
from featx.artifacts.rescoring import rescored
from featx.embeddings.groups import NetworkGroup, network_groups
from featx.embeddings.read import read_embeddings
from featx.embeddings.workers import Decoder
from featx.errors import DataError, MissingExtraError
from featx.files.atomic import sha256_of, whole_file, write_text
from featx.predictors.loading import load
from featx.progress import ProgressCallback, no_progress
from featx.registry import suggestion
from featx.specs.embedding import Reduced, ResolvedEmbedding
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.predictions import Estimates

N_ROWS = 500  # that parity is measured on, where there are so many
BATCH = 32  # images
TOLERANCE = 1e-4
REDUCED = "the run's embeddings are of reduced precision, the file computes in fp32; extract with precision = 'fp32'"
ROWS = "n"  # the size that varies, in shapes
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes
    ----------
    what
        ``head`` (it takes embeddings) or ``whole`` (it takes pixels).
    path, passport
        Where it and its passport are.
    """

    run: str
    what: str
    path: str
    passport: str
    n_bytes: int
    parity: Parity


def export(
    run: str,
    file_format: str = "onnx",
    recipe: str | Path | Recipe | None = None,
    *,
    out: str | Path = ".",
    progress: ProgressCallback = no_progress,
) -> list[Exported]:
    """Write a head or a network for other software.

    A head is unpickled from its run first, which runs any code that stands in it.

    Parameters
    ----------
    run
        Its name in the recipe, or how that begins.
    file_format
        ``onnx``: one file of the head, and one of network and head; ``skops``: the head, to be read without trust;
        ``joblib``: a copy of the head.
    out
        The folder to write to; a passport is written beside each file.

    Raises
    ------
    DataError
        there is no such run or format, the format is not for this kind of run, or there is no row to compare by.
    MissingExtraError
        a package is missing.

    Notes
    -----
    Parity is measured on val and test rows, from which no run learns; test labels are not looked at.
    """
    if file_format not in get_args(Format):
        raise DataError(f"there is no format {file_format!r}; {suggestion(file_format, list(get_args(Format)))}")
    study = Study.open(recipe)
    several = study.runs(names=(run,))
    if len(several) > 1:
        raise DataError(f"{run!r} begins the names of several runs: {', '.join(one.name for one in several)}")
    found = rescored(study, several[0])
    header = read_header(found.path)[1]
    if header.kind == "ensemble":
        asked = ensemble_body(found.path, header)["members"]
        raise DataError(f"{found.name} is a vote over {len(asked)} runs; export these one by one: {', '.join(asked)}")
    if header.kind == "network" and file_format != "onnx":
        raise DataError(f"{found.name} is a network; expected '--format onnx', found {file_format!r}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    task = _Export(study, found, header, folder, progress)
    if file_format == "onnx":
        _check_onnx()
        return [task.onnx_head(), task.onnx_whole()] if header.kind == "head" else [task.onnx_whole()]
    return [task.skops() if file_format == "skops" else task.joblib()]


def _check_onnx() -> None:
    for package in ("onnx", "onnxruntime", "skl2onnx"):
        if find_spec(package) is None:
            raise MissingExtraError(f"ONNX needs {package}, which is not installed; run 'pip install \"featx[onnx]\"'")


@dataclass(frozen=True)
class _Export:
    study: Study
    run: RunFolder
    header: Header
    folder: Path
    progress: ProgressCallback

    def onnx_head(self) -> Exported:
        """Write the head alone."""
        from featx.exports.graph import FLOAT, Graph
        from featx.exports.heads import add_head

        graph, d = Graph(), self.header.n_features
        x = graph.input("features", FLOAT, (ROWS, d))
        model = graph.model(add_head(graph, self._head(), x, d), self._shape, self._about)
        file = self.folder / f"{self.run.name}.head.onnx"
        _write(file, model.SerializeToString())
        (answers,) = _session(file).run(None, {"features": self._x()})
        names = [one.request.name for one in self.header.embeddings]
        inputs = {"features": {"type": "float32", "shape": [ROWS, d], "embeddings": names}}
        return self._finished("head", file, "onnx", inputs, answers)

    def onnx_whole(self) -> Exported:
        """Write network and head as one model, from pixels to answers."""
        from featx.embeddings.files import check_same
        from featx.exports.graph import UINT8, Graph
        from featx.exports.heads import add_head

        graph = Graph()
        vectors: dict[Any, str] = {}
        takes: dict[str, NetworkGroup] = {}
        embeddings = self._embeddings()
        groups = network_groups([one.request for one in embeddings])
        for number, group in enumerate(groups, start=1):
            wanted = [one.spec for one in embeddings if one.request in group.requests]
            check_same(group.specs(wanted[0].precision), wanted)
            name = "pixels" if len(groups) == 1 else f"pixels_{number}"
            side = group.resolved.specs[0].preprocessing.canvas_px
            graph.input(name, UINT8, (ROWS, side, side, 3))
            vectors |= dict(zip(group.requests, _network(graph, group, name), strict=True))
            takes[name] = group
        columns = [vectors[one.request] for one in embeddings]
        answers = graph.op("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
        if self.header.kind == "head":
            answers = add_head(graph, self._head(), answers, self.header.n_features)
        file = self.folder / f"{self.run.name}.onnx"
        _write(file, graph.model(answers, self._shape, self._about).SerializeToString())
        inputs = {name: _of_pixels(group) for name, group in takes.items()}
        return self._finished("whole", file, "onnx", inputs, np.concatenate(list(self._seen(file, takes))))

    def skops(self) -> Exported:
        """Write the head so that it can be read without trust."""
        file = self.folder / f"{self.run.name}.skops"
        with whole_file(file) as private:
            skops_format.dump(self._head(), Path(private))
        return self._copied(file, "skops", skops_format.read(file))

    def joblib(self) -> Exported:
        """Copy the head."""
        file = self.folder / f"{self.run.name}.joblib"
        model = self._head()
        with whole_file(file) as private:
            shutil.copy(self.run.path / BODIES["head"], private)
        return self._copied(file, "joblib", model)

    def _copied(self, file: Path, file_format: Format, model: Any) -> Exported:
        names = [one.request.name for one in self.header.embeddings]
        inputs = {"x": {"type": "float32", "shape": [ROWS, self.header.n_features], "embeddings": names}}
        answers = predict_outputs(model, self._x(), self.header.answers)
        return self._finished("head", file, file_format, inputs, answers)

    def _finished(
        self, what: str, file: Path, file_format: Format, inputs: dict[str, dict[str, Any]], answers: Floats
    ) -> Exported:
        """Compare with the run, write the passport, and say what was done."""
        table = self.run.answers.take(self._ids)
        expected = table.values if isinstance(table, Estimates) else table.proba
        apart = np.abs(answers - expected).max(1)
        parity = Parity(
            rows="val and test",
            n=len(apart),
            largest=float(apart.max()),
            tolerance=TOLERANCE,
            n_beyond=int((apart > TOLERANCE).sum()),
            why=REDUCED if what == "whole" and self._is_reduced else "",
        )
        outputs = {"answers": {"shape": list(self._shape), "kind": self.header.answers, "names": self.header.names}}
        passport = ExportCard(
            run=self.run.name,
            file_format=file_format,
            sha256=sha256_of(file),
            inputs=inputs,
            outputs=outputs,
            parity=parity,
            header=self.header,
        )
        write_text(card_file(file), passport.model_dump_json(indent=2))
        return Exported(self.run.name, what, str(file), str(card_file(file)), file.stat().st_size, parity)

    def _head(self) -> Any:
        return load_head(self.run.path, self.header)

    def _embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """Return what the networks give; of a fine-tuned one, its own answers."""
        return load(self.run.path).local_embeddings

    @property
    def _is_reduced(self) -> bool:
        return any(isinstance(one.spec.precision, Reduced) for one in self._embeddings())

    @property
    def _shape(self) -> tuple[str | int, ...]:
        return ROWS, len(self.header.names)

    @property
    def _about(self) -> dict[str, str]:
        return {"run": self.run.name, "kind": self.header.answers, "names": "\n".join(self.header.names)}

    @property
    def _ids(self) -> Ids:
        ids = np.concatenate([self.study.ids("val"), self.study.ids("test")])[:N_ROWS]
        if not len(ids):
            raise DataError("there is no val or test row to compare by; give the recipe's split some, and fit again")
        return ids

    def _x(self) -> NDArray[np.float32]:
        fingerprints = {one.spec.fingerprint() for one in self.header.embeddings}
        locked = {one.spec.fingerprint(): one for one in self.study.locked}
        if lost := fingerprints - set(locked):
            raise DataError(f"embedding {min(lost)} of {self.run.name} is not extracted; run 'featx extract'")
        chosen = [locked[one.spec.fingerprint()] for one in self.header.embeddings]
        return read_embeddings(self.study, self._ids, chosen).x

    def _seen(self, file: Path, takes: dict[str, NetworkGroup]) -> Iterator[Floats]:
        """Yield what the whole model answers for the rows' images, some at a time."""
        session, rows = _session(file), self.study.manifest.take(self._ids)
        decoders = {
            name: Decoder(group.requests[0].decoding, (group.resolved.specs[0].preprocessing,))
            for name, group in takes.items()
        }
        for start in range(0, len(rows), BATCH):
            self.progress("compare", start, len(rows))
            some = slice(start, start + BATCH)
            places = list(zip(rows.digests[some], rows.uris[some], strict=True))
            pixels = {name: np.stack([_pixels(decoder, *one) for one in places]) for name, decoder in decoders.items()}
            yield session.run(None, pixels)[0]
        self.progress("compare", len(rows), len(rows))


def _pixels(decoder: Decoder, digest: str, uri: str) -> NDArray[np.uint8]:
    found = decoder.decoded(digest, uri)
    if isinstance(found, str):
        raise DataError(f"{uri} cannot be compared by: {found}; run 'featx extract'")
    return np.broadcast_to(found[0], (*found[0].shape[:2], 3))


def _network(graph: Any, group: NetworkGroup, pixels: str) -> list[str]:
    """Add a group's network; returns its vectors, in the order of the requests."""
    import onnx

    model = onnx.load_from_string(group.portable.as_onnx(None))
    names: list[str] = graph.part(model, {model.graph.input[0].name: pixels})
    return names


def _of_pixels(group: NetworkGroup) -> dict[str, Any]:
    """Return how an image becomes what the network takes."""
    preprocessing = group.resolved.specs[0].preprocessing
    side = preprocessing.canvas_px
    how = preprocessing.model_dump(mode="json", include={"resize", "crop_share", "interpolation"})
    decoding = group.requests[0].decoding.model_dump(mode="json")
    return {"type": "uint8", "shape": [ROWS, side, side, 3], "colours": "RGB", **how, "decoding": decoding}


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _write(file: Path, content: bytes) -> None:
    with whole_file(file) as private:
        Path(private).write_bytes(content)
