"""Loading of finished runs and exported heads as models, and predictions of a whole recipe."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from featx.artifacts import skops_format
from featx.artifacts.artifact import load_head, load_verified, read_ensemble_body, read_member_headers
from featx.artifacts.export_card import is_exported, read_export_card
from featx.artifacts.header import Header, find_sibling_run, read_header
from featx.artifacts.rescoring import update_val_scores
from featx.ensembles.combiners import EnsembleMethod
from featx.errors import ArtifactError, DataError, IncompleteError
from featx.files.seals import HEADER_FILE
from featx.metrics.definitions import find_score
from featx.metrics.scores import compared_score, score
from featx.predictors.models import EnsembleModel, HeadModel, Model, NetworkModel
from featx.predictors.prediction import Prediction, join_predictions
from featx.predictors.true_values import TrueValues, find_true_values
from featx.progress import ProgressCallback, no_progress
from featx.registry import ENSEMBLE_METHODS, RUN_KINDS
from featx.specs.head import Metric
from featx.specs.recipe import Recipe
from featx.specs.sequences import as_tuple
from featx.study.run_folder import RunFolder
from featx.study.run_settings import label_runs
from featx.study.study import Study

if TYPE_CHECKING:
    from featx.embeddings.files import EmbeddedFiles, FileEmbedder
    from featx.images.unlabelled import UnlabelledImages

# Images whose embeddings and predictions are in memory at a time.
IMAGES_PER_BATCH = 1024
Images = Sequence[str | Path] | str | Path


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

    Notes
    -----
    A model keeps its networks once it has predicted images, for each device, and several threads may use it.

    Servers that fork, such as gunicorn and Celery, should load models in each worker, after the fork. A process that is
    forked later can also use a loaded model if no thread was predicting at the fork; it builds the networks of heads
    again and uses one thread of torch, because threads do not survive a fork.

    Images are decoded in separate processes, so that an image that crashes its decoder is reported as unreadable.
    Daemonic processes, such as workers of `multiprocessing.Pool`, may not start any and decode images themselves: an
    image that crashes its decoder ends such a process.
    """
    path = Path(path)
    return _load_exported(path) if is_exported(path) else _load_run(path, {})


def _load_exported(path: Path) -> Model:
    """Return an exported head; a ``.joblib`` is unpickled, which runs any code in it, a ``.skops`` is not."""
    import joblib

    card = read_export_card(path)
    if path.suffix not in {".skops", ".joblib"}:
        raise ArtifactError(f"{path} is for ONNX Runtime; to use it with featx, load the run {card.run!r}")
    read_body = skops_format.read if path.suffix == ".skops" else joblib.load
    return HeadModel(card.run, card.header, path.parent, load_verified(path, card.header, read_body))


def _load_run(path: Path, loaded_models: dict[Path, Model]) -> Model:
    """Return the model of a run from `loaded_models`, to which a missing one is added, so that none is loaded twice."""
    folder, header = read_header(path)
    if folder not in loaded_models:
        loaded_models[folder] = _load_kind(folder, header, loaded_models)
    return loaded_models[folder]


def _load_kind(folder: Path, header: Header, loaded_models: dict[Path, Model]) -> Model:
    """Return a newly loaded head, network or ensemble; `loaded_models` holds the members that are loaded already."""
    if header.kind == "head":
        return HeadModel(folder.name, header, folder, load_head(folder, header))
    if header.kind == "network":
        network = NetworkModel(folder.name, header, folder.absolute())
        # Building the network verifies it now and caches it for predictions.
        network.built  # noqa: B018
        return network
    if header.kind == "smoothed":
        smoothed_model: Model = RUN_KINDS.get(header.kind)(
            folder, header, partial(_load_run, loaded_models=loaded_models)
        )
        return smoothed_model
    return _load_ensemble(folder, header, loaded_models)


def _load_ensemble(folder: Path, header: Header, loaded_models: dict[Path, Model]) -> EnsembleModel:
    """Return an ensemble with its members, after all of them and the combiner have been verified."""
    # This raises an error if a member is missing, has changed or is the ensemble itself.
    read_member_headers(folder, header)
    fields = read_ensemble_body(folder, header)
    method_name, member_names = fields.pop("method"), fields.pop("members")
    method: EnsembleMethod = ENSEMBLE_METHODS.get(method_name)
    members = tuple(_load_run(find_sibling_run(folder, name), loaded_models) for name in member_names)
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


def predict(  # noqa: PLR0913 (all but the first two are keyword options)
    recipe_or_images: Recipe | Images = (),
    images: Images | None = None,
    /,
    *,
    recipe: str | Path | Recipe | None = None,
    runs: Sequence[str | Path] | str | Path = (),
    device: str = "auto",
    vectors: str | Path | None = None,
) -> dict[str, Prediction]:
    """Return the predictions of finished runs for images: ``predict(images)`` or ``predict(recipe, images)``.

    Each image is embedded once per backbone. The heads of the runs are unpickled, which runs any code in them.

    Parameters
    ----------
    recipe_or_images
        The images, if they are the only argument: paths, or other places (`featx.images.unlabelled.list_images`), or a
        single one. Otherwise a recipe, its path (``*.toml``), or the folder of a run, which needs no recipe.
    images
        The images, if the first argument is a recipe or the folder of a run.
    recipe
        The recipe, or its path, of ``predict(images)``; by default ``$FEATX_RECIPE`` or ``./featx.toml``.
    runs
        Names of runs, or prefixes of names; by default all finished runs of the recipe. Folders of runs need no recipe.
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
        Neither images nor vectors are given, or both; a place cannot be listed, the vectors do not fit the runs, or the
        first of two arguments is neither a recipe nor the folder of a run.
    IncompleteError
        There is no finished run, or one is damaged and `runs` is empty.

    Examples
    --------
    ::

        featx.predict("new.png")
        featx.predict("faces.toml", ["a.png", "b.png"], runs=["svm"])
        featx.predict("runs/faces/svm-class-1a2b3c4d", "photos/")
    """
    inputs = _parse_inputs(recipe_or_images, images, recipe, vectors is not None)
    runs = (*as_tuple(runs), *inputs.run_folders)
    batches = list(predict_batches(inputs.images, inputs.recipe, runs=runs, device=device, vectors=vectors))
    return {name: join_predictions([batch[name] for batch in batches]) for name in batches[0]}


class _Inputs(NamedTuple):
    """The arguments of `predict` by their meaning."""

    images: Images
    recipe: str | Path | Recipe | None
    run_folders: tuple[str | Path, ...] = ()


def _parse_inputs(
    first: Recipe | Images, images: Images | None, recipe: str | Path | Recipe | None, has_vectors: bool
) -> _Inputs:
    """Return the meaning of the arguments of `predict`: ``(images)``, ``(recipe, images)`` or ``(run, images)``.

    Raises
    ------
    DataError
        They have none of these meanings.
    """
    is_recipe = isinstance(first, Recipe) or (isinstance(first, str | Path) and _is_recipe_path(first))
    text = repr(first.name if isinstance(first, Recipe) else str(first) if isinstance(first, Path) else first)
    if images is None and not is_recipe:
        assert not isinstance(first, Recipe)
        return _Inputs(first, recipe)
    if images is None and not has_vectors:
        raise DataError(f"found recipe {text} and no images to predict; expected predict(recipe, images)")
    if recipe is not None:
        raise DataError("found two recipes; expected predict(recipe, images), or predict(images, recipe=recipe)")
    if isinstance(first, Recipe) or (isinstance(first, str | Path) and is_recipe):
        return _Inputs(images or (), first)
    if isinstance(first, str | Path) and is_run_folder(first):
        return _Inputs(images or (), None, (first,))
    raise DataError(
        f"found {text} as the first of two arguments; expected predict(recipe, images) with the path of a recipe "
        "(*.toml) or the folder of a run, or predict(images)"
    )


def _is_recipe_path(path: str | Path) -> bool:
    """Return whether a path is that of a recipe or of its preset."""
    return str(path).partition("#")[0].endswith(".toml")


def is_run_folder(path: str | Path) -> bool:
    """Return whether a path is the folder of a finished run."""
    return (Path(path) / HEADER_FILE).is_file()


def predict_batches(  # noqa: PLR0913 (all but the first are keyword options)
    images: Sequence[str | Path] | str | Path = (),
    recipe: str | Path | Recipe | None = None,
    *,
    runs: Sequence[str | Path] | str | Path = (),
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

    places, runs = [str(image) for image in as_tuple(images)], as_tuple(runs)
    if bool(places) == (vectors is not None):
        inputs = "images and vectors" if places else "no images"
        raise DataError(f"found {inputs} to predict; name one or more images, or one file of vectors")
    has_recipe = not runs or any(not is_run_folder(run) for run in runs)
    study = Study.open(recipe) if has_recipe else None
    models = _load_models(study, runs)
    descriptions = _RunDescriptions.of(study)
    embeddings = tuple(dict.fromkeys(embedding for model in models for embedding in model.local_embeddings))
    if vectors is not None:
        embedded_files = load_vectors_as_embedded(Path(vectors), embeddings)
        yield {model.name: descriptions.add_to(model.predict_embedded(embedded_files), model) for model in models}
        return
    networks = {key: network for model in models for key, network in model.networks.items()}
    image_list = list_images(places)
    embedder = FileEmbedder(embeddings, device, networks, len(image_list.ids))
    true_values = find_true_values(study, image_list, {model.header.target: model.classes for model in models})
    opened_targets: set[str] = set()
    uris = dict(zip(image_list.ids, image_list.uris, strict=True))
    for embedded_files in _embed_batches(image_list, embedder, progress):
        predictions = {
            model.name: descriptions.add_to(model.predict_listed(embedded_files, uris, device), model)
            for model in models
        }
        if study is not None:
            opened_targets |= _log_test_labels(study, predictions, true_values, embedded_files.digests, opened_targets)
        batch_uris = [uris[image] for image in embedded_files.images]
        yield {
            name: replace(true_values.add_to(prediction, embedded_files.digests), uris=batch_uris)
            for name, prediction in predictions.items()
        }


def _log_test_labels(
    study: Study,
    predictions: Mapping[str, Prediction],
    true_values: TrueValues,
    digests: Mapping[str, str],
    logged_targets: set[str],
) -> set[str]:
    """Log that predictions are compared with test labels, once for each target, and return the targets."""
    runs_by_target: dict[str, list[str]] = {}
    for run, prediction in predictions.items():
        if prediction.target not in logged_targets and true_values.uses_test_labels(prediction, digests):
            runs_by_target.setdefault(prediction.target, []).append(run)
    for target, runs in runs_by_target.items():
        study.open_test(target, runs)
    return set(runs_by_target)


@dataclass(frozen=True)
class _RunDescriptions:
    """Run name → label among all finished runs of its target, and score on the selection rows."""

    labels: dict[str, str]
    selection_scores: dict[str, float]

    @classmethod
    def of(cls, study: Study | None) -> "_RunDescriptions":
        """Return the labels and scores of the comparable runs of a study; none without a study, and for refits."""
        if study is None:
            return cls({}, {})
        runs = study.comparable_runs()
        metrics = {target: study.metric(target) for target in {run.spec.target for run in runs}}
        scores = {run.name: _selection_score(study, run, metrics[run.spec.target]) for run in runs}
        return cls(label_runs({run.name: run.spec for run in runs}), scores)

    def add_to(self, prediction: Prediction, model: Model) -> Prediction:
        """Return a prediction of a model with its target, its label, its score and the decoding of its images."""
        return replace(
            prediction,
            target=model.header.target,
            label=self.labels.get(model.name, model.name),
            selection_score=self.selection_scores.get(model.name, math.nan),
            decoding=model.embeddings[0].request.decoding,
        )


def _selection_score(study: Study, run: RunFolder, metric: Metric) -> float:
    """Return the score of a run on val, or out of fold, weighted if rows have weights; greater is better."""
    truth = study.labels(run.spec.target)
    if compared_score(metric, truth) != metric:
        # Runs store the weighted value of their main score alone.
        return float(find_score(metric).signed(score(metric, truth, run.selection_predictions())))
    scores_by_part = run.metrics.scores_by_part
    scores = scores_by_part.get("val") or scores_by_part.get("oof") or {}
    return find_score(metric).signed(scores[metric]) if metric in scores else math.nan


def _embed_batches(
    image_list: "UnlabelledImages", embedder: "FileEmbedder", progress: ProgressCallback
) -> Iterator["EmbeddedFiles"]:
    """Yield the embedded images batch by batch; images that are known to be unreadable are in the first one."""
    n = len(image_list.ids)
    for start in range(0, max(n, 1), IMAGES_PER_BATCH):
        rows = slice(start, start + IMAGES_PER_BATCH)
        embedded_files = embedder.embed(image_list.ids[rows], image_list.uris[rows])
        if not start:
            embedded_files.unreadable.update(image_list.unreadable)
        yield embedded_files
        progress("predict", min(rows.stop, n), n)


def _load_models(study: Study | None, runs: Sequence[str | Path]) -> list[Model]:
    """Return the models of the named folders and, if there is a study, of its other named runs or of all its runs.

    Raises
    ------
    DataError
        Two models have the same name.
    IncompleteError
        There is no finished run, or one is damaged and `runs` is empty.
    """
    loaded_models: dict[Path, Model] = {}
    folders = [Path(run) for run in runs if is_run_folder(run)]
    names = [str(run) for run in runs if not is_run_folder(run)]
    models = [_load_run(folder, loaded_models) for folder in folders]
    if study is not None:
        if not names and (damaged_runs := study.damaged()):
            raise IncompleteError(f"{damaged_runs[0].damage}, or name the runs to use with 'featx predict --run NAME'")
        finished_runs = study.runs(names=tuple(names) or None, with_refits=True)
        # A smoothed run takes a hundred times as long as all others, so that it predicts only if it is named.
        finished_runs = finished_runs if names else [run for run in finished_runs if run.kind != "smoothed"]
        models += [_load_run(update_val_scores(study, run).path, loaded_models) for run in finished_runs]
    models = list({id(model): model for model in models}.values())
    if repeated_names := [name for name, n in Counter(model.name for model in models).items() if n > 1]:
        raise DataError(f"found several runs called {repeated_names[0]!r}; predict with one after the other")
    return models
