"""Damaged image files, the same ones each time: bits flipped, ends cut off, two files spliced."""

import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featx import extract
from featx.embeddings.extract import Extraction
from featx.images.contents import digest
from featx.specs.extraction import EngineSpec
from featx.study.study import Study
from tests.conftest import TOY_RECIPE
from tests.rows import row_alone, stored_rows

KINDS: list[tuple[str, str, str, dict[str, Any]]] = [  # ending, Pillow's name, mode, options
    ("jpg", "JPEG", "RGB", {}),
    ("jpg", "JPEG", "L", {"quality": 40}),
    ("jpg", "JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("jpg", "JPEG", "CMYK", {}),
    ("jpg", "JPEG", "RGB", {"orientation": 6}),
    ("png", "PNG", "RGB", {}),
    ("png", "PNG", "P", {"transparency": 3}),
    ("png", "PNG", "I;16", {}),
    ("png", "PNG", "RGBA", {"orientation": 8}),
    ("webp", "WEBP", "RGB", {}),
    ("webp", "WEBP", "RGBA", {"lossless": True}),
    ("webp", "WEBP", "RGB", {"save_all": True}),
    ("gif", "GIF", "P", {}),
    ("gif", "GIF", "P", {"save_all": True}),
    ("tif", "TIFF", "RGB", {}),
    ("tif", "TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("tif", "TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    ("tif", "TIFF", "RGB", {"compression": "jpeg"}),
    ("tif", "TIFF", "1", {"compression": "group4"}),
    ("tif", "TIFF", "F", {"compression": "packbits"}),
    ("tif", "TIFF", "CMYK", {"save_all": True}),
    ("bmp", "BMP", "RGB", {}),
    ("bmp", "BMP", "P", {}),
    ("bmp", "BMP", "1", {}),
]
N_WHOLE = 8  # of each kind, to damage
HEAD = 64  # bytes; where damage does most


def whole(ending_at: int, rng: np.random.Generator) -> bytes:
    """Return an undamaged file of one of the kinds."""
    _, name, mode, options = KINDS[ending_at]
    options = dict(options)
    width, height = rng.integers(8, 60, 2).tolist()
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((4, 4)).resize((width, height))
    image = smooth.convert("L").convert(mode) if mode == "I;16" else smooth.convert(mode)
    if orientation := options.pop("orientation", 0):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
    if options.get("save_all"):
        options["append_images"] = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def damaged(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one kind of damage, drawn."""
    kind = rng.integers(6)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        return content[: rng.integers(len(content))] + other[rng.integers(len(other)) :]
    if kind == 2:
        start, length = rng.integers(len(content)), rng.integers(1, 40)
        return content[:start] + bytes(length) + content[start + length :]
    most = min(HEAD, len(content)) if kind == 3 else len(content)
    flipped = bytearray(content)
    for at in rng.integers(0, most, rng.integers(1, 3 if kind == 5 else 20)).tolist():
        flipped[at] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def write_corrupted(folder: Path, n: int, seed: int) -> None:
    """Write n damaged files into two class folders."""
    rng = np.random.default_rng(seed)
    sources = [[whole(at, rng) for _ in range(N_WHOLE)] for at in range(len(KINDS))]
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    for number in range(n):
        at = int(rng.integers(len(KINDS)))
        family = sources[at] if rng.random() < 0.5 else sources[int(rng.integers(len(KINDS)))]
        content = damaged(sources[at][rng.integers(N_WHOLE)], family[rng.integers(N_WHOLE)], rng)
        (folder / ("cat" if number % 2 else "dog") / f"{number:05}.{KINDS[at][0]}").write_bytes(content)


def check_corrupted(home: Path, n: int, seed: int, n_alone: int) -> tuple[Extraction, float]:
    """Extract n damaged files; each is reported or has the row of its own bytes, which is recomputed for a sample.

    Returns
    -------
    tuple
        What the extraction said, and its seconds.
    """
    write_corrupted(home / "images", n, seed)
    recipe = home / "featx.toml"
    recipe.write_text(TOY_RECIPE + '\n[paths]\ncache = "cache"\nruns = "runs"\n')
    start = time.perf_counter()
    done = extract(recipe, engine=EngineSpec(runtime="torch"))  # what rows are recomputed by
    seconds = time.perf_counter() - start

    study = Study.open(recipe)
    outcomes = study.outcomes.set_index("id")
    contents = {path: (home / "images" / path).read_bytes() for path in study.manifest.ids}
    assert done.n_found == len(outcomes) == len(contents) == n
    assert set(outcomes.index) == set(contents)
    assert set(outcomes["outcome"]) <= {"embedded", "duplicate", "unreadable"}
    assert outcomes.loc[outcomes["outcome"] == "unreadable", "reason"].str.len().gt(0).all()
    digests = dict(zip(study.manifest.ids, study.manifest.digests, strict=True))
    assert {name: digest(content) for name, content in contents.items() if content} == {
        name: text for name, text in digests.items() if text
    }
    rows = stored_rows(study)
    first_of = {digests[name]: name for name in reversed(list(rows))}
    assert Counter(outcomes["outcome"])["embedded"] == len(first_of)
    for name, row in rows.items():
        assert row == rows[first_of[digests[name]]]
    alone = row_alone(study)
    sample = np.random.default_rng(seed).permutation(sorted(first_of.values()))[:n_alone]
    assert [name for name in sample.tolist() if alone(name) != rows[name]] == []
    return done, seconds
