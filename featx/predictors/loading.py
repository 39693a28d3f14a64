"""Loading of finished runs and exported heads as models, and predictions of a whole recipe."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featx.artifacts import skops_format
from featx.artifacts.artifact import load_head, load_verified, read_ensemble_body, read_member_headers
from featx.artifacts.export_card import is_exported, read_export_card
from featx.artifacts.header import Header, read_header
from featx.artifacts.rescoring import update_val_scores
from featx.ensembles.combiners import VotingMethod
from featx.errors import ArtifactError, DataError, IncompleteError
from featx.predictors.models import EnsembleModel, HeadModel, Model, NetworkModel
from featx.predictors.prediction import Prediction, join_predictions
from featx.progress import ProgressCallback, no_progress
from featx.registry import VOTES
from featx.specs.recipe import Recipe
from featx.study.study import Study

if TYPE_CHECKING:
    from featx.embeddings.files import EmbeddedFiles, FileEmbedder
    from featx.images.unlabelled import UnlabelledImages

# Images whose embeddings and predictions are in memory at a time.
IMAGES_PER_BATCH = 1024


def load(path: str | Path) -> Model:
    """Return a finished run as a model that predicts.

    A head's ``model.joblib`` and an exported ``.joblib`` are pickles: opening one runs any code that its author put
    there, so load only those whose author you trust. Networks (safetensors) and exported ``.skops`` files run no code.

    Parameters
    ----------
    path
        A run folder, or the model in it; or a file that ``featx export`` wrote, with the suffix ``.skops`` or
        ``.joblib``. The members of an ensemble are expected beside its folder.

    Raises
    ------
    ArtifactError
        There is no header, the body does not match it, or the model gives other outputs for its golden inputs.
    """
    path = Path(path)
    return _load_exported(path) if is_exported(path) else _load_run(path, {})


def _load_exported(path: Path) -> Model:
    """Return an exported head; a ``.joblib`` is unpickled, which runs any code in it, a ``.skops`` is not."""
    import joblib

    card = read_export_card(path)
    if path.suffix not in {".skops", ".joblib"}:
        raise ArtifactError(f"{path} is for ONNX Runtime; to use it with featx, load the run {card.run!r}")
    read = skops_format.read if path.suffix == ".skops" else joblib.load
    return HeadModel(card.run, card.header, path.parent, load_verified(path, card.header, read))


def _load_run(path: Path, loaded: dict[Path, Model]) -> Model:
    """Return the model of a run from `loaded`, to which a missing one is added, so that none is loaded twice."""
    folder, header = read_header(path)
    if folder not in loaded:
        loaded[folder] = _load_kind(folder, header, loaded)
    return loaded[folder]


def _load_kind(folder: Path, header: Header, loaded: dict[Path, Model]) -> Model:
    """Return a newly loaded head, network or ensemble; `loaded` holds the members that are loaded already."""
    if header.kind == "head":
        return HeadModel(folder.name, header, folder, load_head(folder, header))
    if header.kind == "network":
        network = NetworkModel(folder.name, header, folder.absolute())
        # Building the network verifies it now and caches it for predictions.
        network.built  # noqa: B018
        return network
    return _load_ensemble(folder, header, loaded)


def _load_ensemble(folder: Path, header: Header, loaded: dict[Path, Model]) -> EnsembleModel:
    """Return an ensemble with its members, after all of them and the combiner have been verified."""
    # This raises an error if a member is missing, has changed or is the ensemble itself.
    read_member_headers(folder, header)
    fields = read_ensemble_body(folder, header)
    method_name, member_names = fields.pop("method"), fields.pop("members")
    method: VotingMethod = VOTES.get(method_name)
    members = tuple(_load_run(folder.parent / name, loaded) for name in member_names)
    try:
        model = EnsembleModel(folder.name, header, folder, method_name, members, method.read(fields))
        model.check_combiner()
    except (ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"{folder / header.body} does not combine its {len(members)} members ({reason}); make the ensemble again "
            "with 'featx ensemble --force'"
        ) from error
    return model


def predict(
    images: Sequence[str | Path] | str | Path = (),
    recipe: str | Path | Recipe | None = None,
    *,
    runs: Sequence[str] = (),
    device: str = "auto",
    vectors: str | Path | None = None,
) -> dict[str, Prediction]:
    """Return the predictions of a recipe's finished runs for images, each image embedded once per backbone.

    The heads of these runs are unpickled, which runs any code in them.

    Parameters
    ----------
    images
        Paths of images, or other places (`featx.images.unlabelled.list_images`); or a single one.
    recipe
        The recipe, or its path; by default ``$FEATX_RECIPE`` or ``./featx.toml``.
    runs
        Names of runs, or prefixes of names; by default all finished runs of the recipe.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    vectors
        File of vectors to predict from instead of images, for runs on vectors that were made elsewhere: ``ids`` and
        ``x`` as in the recipe's file. The ids take the place of the images.

    Returns
    -------
    dict
        Name of the run → prediction.

    Raises
    ------
    DataError
        Neither images nor vectors are given, or both; a place cannot be listed, or the vectors do not fit the runs.
    IncompleteError
        There is no finished run, or one is damaged and `runs` is empty.
    """
    batches = list(predict_batches(images, recipe, runs=runs, device=device, vectors=vectors))
    return {name: join_predictions([batch[name] for batch in batches]) for name in batches[0]}


def predict_batches(  # noqa: PLR0913 (all but the first are keyword options)
    images: Sequence[str | Path] | str | Path = (),
    recipe: str | Path | Recipe | None = None,
    *,
    runs: Sequence[str] = (),
    device: str = "auto",
    vectors: str | Path | None = None,
    progress: ProgressCallback = no_progress,
) -> Iterator[dict[str, Prediction]]:
    """Yield the predictions of `predict` batch by batch, so that memory does not grow with the number of images.

    Parameters
    ----------
    images, recipe, runs, device, vectors
        As in `predict`.
    progress
        Receives the number of finished images.
    """
    from featx.embeddings.external import load_vectors_as_embedded
    from featx.embeddings.files import FileEmbedder
    from featx.images.unlabelled import list_images

    places = [str(image) for image in ([images] if isinstance(images, str | Path) else images)]
    if bool(places) == (vectors is not None):
        inputs = "images and vectors" if places else "no images"
        raise DataError(f"found {inputs} to predict; name one or more images, or one file of vectors")
    models = _load_runs(Study.open(recipe), runs)
    embeddings = tuple(dict.fromkeys(embedding for model in models for embedding in model.local_embeddings))
    if vectors is not None:
        embedded = load_vectors_as_embedded(Path(vectors), embeddings)
        yield {model.name: model.predict_embedded(embedded) for model in models}
        return
    networks = {key: network for model in models for key, network in model.networks.items()}
    listed = list_images(places)
    embedder = FileEmbedder(embeddings, device, networks, len(listed.ids))
    for embedded in _embed_batches(listed, embedder, progress):
        yield {model.name: model.predict_embedded(embedded) for model in models}


def _embed_batches(
    listed: "UnlabelledImages", embedder: "FileEmbedder", progress: ProgressCallback
) -> Iterator["EmbeddedFiles"]:
    """Yield the embedded images batch by batch; images that are known to be unreadable are in the first one."""
    n = len(listed.ids)
    for start in range(0, max(n, 1), IMAGES_PER_BATCH):
        rows = slice(start, start + IMAGES_PER_BATCH)
        embedded = embedder.embed(listed.ids[rows], listed.uris[rows])
        if not start:
            embedded.unreadable.update(listed.unreadable)
        yield embedded
        progress("predict", min(rows.stop, n), n)


def _load_runs(study: Study, runs: Sequence[str]) -> list[Model]:
    """Return the models of a study's finished runs.

    Raises
    ------
    IncompleteError
        There is no finished run, or one is damaged and `runs` is empty.
    """
    if not runs and (damaged := study.damaged()):
        raise IncompleteError(f"{damaged[0].damage}, or name the runs to use with '--run'")
    loaded: dict[Path, Model] = {}
    named = study.runs(names=tuple(runs) or None, with_refits=True)
    return [_load_run(update_val_scores(study, run).path, loaded) for run in named]
