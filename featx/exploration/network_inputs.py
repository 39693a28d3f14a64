"""A batch of images as the networks of a recipe see it: after decoding, preprocessing and augmentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from featx.embeddings.workers import Decoder
from featx.errors import FeatxError
from featx.exploration.analysis import AnalysisResult
from featx.exploration.explored_images import ExploredImages
from featx.files.atomic import atomic_file
from featx.files.spreadsheets import write_csv
from featx.images.value_ranges import Pixels
from featx.progress import ProgressCallback
from featx.specs.embedding import EmbeddingRequest, Preprocessing
from featx.specs.finetuning import FinetuneSpec

# Images of the batch, and epochs whose augmented views of them are made.
N_IMAGES, N_EPOCHS = 8, 3
BATCH_SEED = 0
COLUMNS = ["file", "network", "id", "part", "view"]
PLAIN = "not augmented"


@dataclass(frozen=True)
class SeenNetwork:
    """A network of a recipe, and its input images.

    Attributes
    ----------
    name
        Description of the network.
    request
        Backbone with the preprocessing of the recipe.
    finetuning
        Settings of its training, with the augmentation; None for an embedding, whose images are never augmented.
    """

    name: str
    request: EmbeddingRequest
    finetuning: FinetuneSpec | None = None

    @property
    def may_cache_views(self) -> bool:
        """Whether the activations of frozen layers for augmented views may be cached, which runs of all seeds share."""
        spec = self.finetuning
        if spec is None or spec.augment.does_nothing or spec.adversarial is not None:
            return False
        return any(phase.trainable not in {"all", "scratch"} for phase in spec.training_phases)


def make_network_inputs(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the inputs of the recipe's first embedding and first fine-tuned network for some train images.

    Notes
    -----
    Arrays hold (h, w, 3) uint8 pixels; networks subtract the mean and divide by the standard deviation of their
    weights, which `facts` state.
    """
    rows: list[dict[str, str]] = []
    arrays: dict[str, Pixels] = {}
    facts, notes = {}, []
    for number, network in enumerate(_networks(images)):
        try:
            preprocessing = _preprocessing(images, network)
        except FeatxError as error:
            notes.append(f"inputs of {network.name} are not shown: {error}")
            continue
        facts[network.name] = preprocessing.model_dump(mode="json")
        if network.may_cache_views:
            notes.append(
                f"{network.name}: if the activations of its frozen layers are cached, its epochs take other views of "
                "the same augmentation in turn"
            )
        for image_id, part, view, pixels in _views(images, network, preprocessing):
            file = f"{len(rows):03}-network{number}.png"
            rows.append({"file": file, "network": network.name, "id": image_id, "part": part, "view": view})
            arrays[file] = pixels
    if not facts and not notes:
        notes.append("the recipe has no network, so that no inputs of networks are shown")
    return AnalysisResult({"network_inputs": pd.DataFrame(rows, columns=COLUMNS)}, facts, (), tuple(notes), arrays)


def save_inputs(result: AnalysisResult, folder: Path) -> list[Path]:
    """Write the inputs as PNG files and ``inputs.csv`` with the id, the network and the view of each.

    Parameters
    ----------
    result
        Result of `make_network_inputs`.
    folder
        Folder to write to, which is made if it does not exist.

    Raises
    ------
    OSError
        the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file, pixels in result.arrays.items():
        with atomic_file(folder / file) as private:
            Image.fromarray(pixels).save(private, format="PNG")
    write_csv(folder / "inputs.csv", result.tables["network_inputs"])
    return [folder / "inputs.csv", *(folder / file for file in result.arrays)]


def _networks(images: ExploredImages) -> Iterator[SeenNetwork]:
    """Yield the network of the first embedding, and the first network that is fine-tuned."""
    recipe = images.recipe
    request = next((request for request in recipe.requests if request.vectors is None), None)
    if request is not None:
        yield SeenNetwork(f"embedding {request.name}", request)
    if recipe.finetune:
        spec = recipe.finetune[0].runs[0]
        yield SeenNetwork(f"fine-tuned {spec.backbone}", recipe.completed(spec.request), spec)


def _preprocessing(images: ExploredImages, network: SeenNetwork) -> Preprocessing:
    """Return the preprocessing of a network; that of an extracted embedding was recorded.

    Raises
    ------
    FeatxError
        the backbone is unknown, not installed, or not trained yet.
    """
    recorded = images.study.locked if images.is_extracted and network.finetuning is None else ()
    for embedding in recorded:
        if embedding.request == network.request:
            return embedding.spec.preprocessing
    # Both modules import torch, which takes seconds.
    from featx.networks.backbones import get_backbone
    from featx.networks.features import preprocessing_for

    return preprocessing_for(network.request, get_backbone(network.request.backbone).preprocessing)


def _views(
    images: ExploredImages, network: SeenNetwork, preprocessing: Preprocessing
) -> Iterator[tuple[str, str, str, Pixels]]:
    """Yield id, part, name and pixels of each view of the batch; images that cannot be decoded are left out."""
    decoder = Decoder(images.recipe.decoding, (preprocessing,))
    for row in _batch_rows(images):
        result = decoder.decode(images.digests[row], images.uris[row])
        if isinstance(result, str):
            continue
        image_id, part = str(images.ids[row]), str(images.parts[row])
        side = preprocessing.canvas_px
        pixels = np.array(np.broadcast_to(result[0], (side, side, 3)))
        yield image_id, part, PLAIN, pixels
        if network.finetuning is not None:
            for view, augmented in _augmented(pixels, network.finetuning, images.digests[row]):
                yield image_id, part, view, augmented


def _batch_rows(images: ExploredImages) -> NDArray[np.intp]:
    """Return the rows of some random train images; of any images where there is no split."""
    train = np.flatnonzero(images.parts == "train")
    rows = train if len(train) else np.arange(len(images))
    rng = np.random.default_rng(BATCH_SEED)
    return np.sort(rng.choice(rows, min(N_IMAGES, len(rows)), replace=False))


def _augmented(pixels: Pixels, spec: FinetuneSpec, digest: str) -> Iterator[tuple[str, Pixels]]:
    """Yield the views that the first epochs of a training on pixels make of an image; none without augmentation."""
    if spec.augment.does_nothing:
        return
    # Both modules import torch, which takes seconds.
    from featx.finetuning.augmentation import augment
    from featx.finetuning.training_rows import augmentation_keys

    (key,) = augmentation_keys([digest], spec.seed).tolist()
    # Epoch 0 is the state before training.
    for epoch in range(1, N_EPOCHS + 1):
        yield f"epoch {epoch}", augment(pixels, spec.augment, (key, epoch))
