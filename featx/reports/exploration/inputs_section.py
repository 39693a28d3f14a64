"""Section of a batch as the networks see it."""

import base64
import io

from PIL import Image

from featx.exploration.analysis import AnalysisResult
from featx.exploration.explore import Exploration
from featx.images.value_ranges import Pixels
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Gallery, GalleryItem, Picture, Section, Text

JPEG_QUALITY = 85


def build_inputs_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the inputs of each network, one image in a gallery item with all its views."""
    result = exploration.results["network_inputs"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    for network, preprocessing in result.facts.items():
        side, resize, crop = (preprocessing[key] for key in ("size_px", "resize", "crop_share"))
        components.append(
            Text(
                f"{network}: {side} × {side} px, resize = {resize!r}, crop_share = {crop:g}; the "
                f"network then subtracts mean {_numbers(preprocessing['mean'])} and divides by sd "
                f"{_numbers(preprocessing['std'])}, levels in 0 to 1."
            )
        )
        components.append(_gallery(result, network))
    return Section("As the networks see it", components)


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _gallery(result: AnalysisResult, network: str) -> Gallery:
    table = result.tables["network_inputs"]
    rows = table[table["network"] == network]
    items = []
    for image_id in dict.fromkeys(rows["id"]):
        views = rows[rows["id"] == image_id]
        pictures = [_picture(result.arrays[file]) for file in views["file"]]
        items.append(GalleryItem(image_id, pictures, [", ".join(views["view"])]))
    caption = f"Inputs of {network} for random train images, with all views."
    return Gallery(f"inputs of {network}", caption, items)


def _picture(pixels: Pixels) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}")
