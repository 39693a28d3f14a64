"""Reproducible damaged image files: flipped bits, truncated files, and two files spliced."""

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
from tests.image_files import encode
from tests.rows import row_alone, stored_rows

# Suffix, Pillow's name of the format, mode, options.
KINDS: list[tuple[str, str, str, dict[str, Any]]] = [
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
# Number of undamaged files of each kind.
N_WHOLE = 8
# Damage at the beginning of a file has the largest effect.
HEAD_BYTES = 64


def make_file(kind: int, rng: np.random.Generator) -> bytes:
    """Return the content of an undamaged file of the kind with this index."""
    _, name, mode, options = KINDS[kind]
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
    return encode(image, name, **options)


def damage(content: bytes, donor: bytes, rng: np.random.Generator) -> bytes:
    """Return a file's content with random damage, partly from the content of a donor file."""
    kind = rng.integers(6)
    if kind == 0:
        return content[: rng.integers(len(content))]
    if kind == 1:
        return content[: rng.integers(len(content))] + donor[rng.integers(len(donor)) :]
    if kind == 2:
        start, length = rng.integers(len(content)), rng.integers(1, 40)
        return content[:start] + bytes(length) + content[start + length :]
    limit = min(HEAD_BYTES, len(content)) if kind == 3 else len(content)
    damaged_bytes = bytearray(content)
    for position in rng.integers(0, limit, rng.integers(1, 3 if kind == 5 else 20)).tolist():
        damaged_bytes[position] ^= 1 << int(rng.integers(8))
    return bytes(damaged_bytes)


def write_corrupted(folder: Path, n: int, seed: int) -> None:
    """Write n damaged files into two class folders."""
    rng = np.random.default_rng(seed)
    sources = [[make_file(kind, rng) for _ in range(N_WHOLE)] for kind in range(len(KINDS))]
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    for number in range(n):
        kind = int(rng.integers(len(KINDS)))
        family = sources[kind] if rng.random() < 0.5 else sources[int(rng.integers(len(KINDS)))]
        content = damage(sources[kind][rng.integers(N_WHOLE)], family[rng.integers(N_WHOLE)], rng)
        (folder / ("cat" if number % 2 else "dog") / f"{number:05}.{KINDS[kind][0]}").write_bytes(content)


def check_corrupted(home: Path, n: int, seed: int, n_alone: int) -> tuple[Extraction, float]:
    """Extract n damaged files and check that each is reported or has the row of its own bytes.

    Rows are computed again for a sample of `n_alone` images.

    Returns
    -------
    tuple
        The result of the extraction, and its seconds.
    """
    write_corrupted(home / "images", n, seed)
    recipe = home / "featx.toml"
    recipe.write_text(TOY_RECIPE + '\n[paths]\ncache = "cache"\nruns = "runs"\n')
    start = time.perf_counter()
    # Rows are computed again by torch.
    extraction = extract(recipe, engine=EngineSpec(runtime="torch"))
    seconds = time.perf_counter() - start

    study = Study.open(recipe)
    outcomes = study.outcomes.set_index("id")
    contents = {path: (home / "images" / path).read_bytes() for path in study.manifest.ids}
    assert extraction.n_found == len(outcomes) == len(contents) == n
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
    row_of_image = row_alone(study)
    sample = np.random.default_rng(seed).permutation(sorted(first_of.values()))[:n_alone]
    assert [name for name in sample.tolist() if row_of_image(name) != rows[name]] == []
    return extraction, seconds
