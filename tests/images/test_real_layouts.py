"""Published data sets in their original layouts are recognised without options."""

import gzip
import io
import shutil
import tomllib
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

import featx
from featx.embeddings.extract import Extraction
from featx.images.contents import digest
from featx.images.init import Recognition
from featx.images.readers import Listing, read_source
from featx.images.sources import read_content
from featx.specs.recipe import Recipe, load_recipe
from featx.specs.split import SplitSpec
from featx.study.splits import split
from featx.tables.encoding import encode_classes
from tests.conftest import make_images

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts it
CELEBA_ATTRIBUTES = """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair
    Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male
    Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks
    Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace
    Wearing_Necktie Young
"""
N_FACES, N_MEN = 30_000, 12_680


def listed() -> tuple[Recipe, Listing]:
    """Return the recipe that was written, and the listing of its images."""
    recipe = load_recipe()
    return recipe, read_source(recipe.data, recipe.folder)


def extracted(**changes: str) -> Extraction:
    """Extract by the recipe that was written, with the toy backbone and these lines changed: beginning → whole line."""
    lines = Path("featx.toml").read_text().splitlines()
    for beginning, line in ({"backbone": 'backbone = "toy"\nweights = "none"'} | changes).items():
        (position,) = [number for number, old_line in enumerate(lines) if old_line.startswith(f"{beginning} =")]
        lines[position] = line
    Path("featx.toml").write_text("\n".join(lines))
    return featx.extract()


# Fashion-MNIST: IDX files, gzipped


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_read_from_its_own_files(home: Path) -> None:
    recognition = featx.init(FASHION_MNIST)

    assert (recognition.reader, recognition.n_found, recognition.target) == ("arrays", 70_000, "label")
    assert recognition.classes == {str(number): 7000 for number in range(10)}
    assert (recognition.split_column, recognition.parts) == ("split", {"train": 60_000, "test": 10_000})
    assert recognition.sizes_px == {"28×28": recognition.n_measured}
    assert recognition.ignored == {}
    recipe, listing = listed()
    truth = encode_classes(listing.manifest, "label", recipe.targets["label"])
    parts = split(listing.manifest, truth, recipe.split)
    assert parts.value_counts().to_dict() == {"train": 51_017, "val": 8_983, "test": 10_000}
    source_parts = listing.manifest.column("split")
    assert (parts[source_parts == "test"] == "test").all()
    assert np.bincount(truth.take(source_parts.index[source_parts == "train"]).codes).tolist() == [6000] * 10


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_a_row_of_fashion_mnist_has_the_pixels_of_the_file(home: Path) -> None:
    featx.init(FASHION_MNIST)
    _, listing = listed()
    uris = dict(zip(listing.manifest.ids, listing.manifest.uris, strict=True))
    for part, prefix, n in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        pixels = gzip.decompress((FASHION_MNIST / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((FASHION_MNIST / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
        for row in (0, 1, n // 2, n - 1):
            name = f"{prefix}-images-idx3-ubyte.gz#{row}"
            content = read_content(uris[name])
            assert isinstance(content, np.ndarray)
            assert content.tobytes() == pixels[784 * row : 784 * (row + 1)]
            assert listing.manifest.labels.loc[name].to_dict() == {"label": labels[row], "split": part}


# celeba_gender: 30,000 faces in an archive, and a table of 40 attributes


def tiny_jpeg() -> bytes:
    """Return a JPEG of a few hundred bytes."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 150, 120)).save(file, "JPEG", quality=30)
    return file.getvalue()


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``faces.zip`` and ``list_attr_celeba.csv``, as large as the study's."""
    folder = tmp_path_factory.mktemp("celeba")
    names = [f"{number:06}.jpg" for number in range(1, N_FACES + 1)]
    jpeg = tiny_jpeg()
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            note = name.encode()
            comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
            archive.writestr(f"img_align_celeba/{name}", jpeg[:2] + comment + jpeg[2:])
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.choice([-1, 1], (N_FACES, 40)), columns=CELEBA_ATTRIBUTES.split())
    frame["Male"] = np.where(rng.permutation(N_FACES) < N_MEN, 1, -1)
    frame.insert(0, "image_id", names)
    frame.to_csv(folder / "list_attr_celeba.csv", index=False)
    return folder


def test_celeba_is_recognised_with_its_attributes_as_targets(home: Path, celeba: Path) -> None:
    recognition = featx.init(celeba, target="Male")

    assert (recognition.reader, recognition.n_found, recognition.n_unreadable) == ("table", N_FACES, 0)
    assert recognition.candidates == dict.fromkeys(CELEBA_ATTRIBUTES.split(), 2)
    assert (recognition.target, recognition.classes) == ("Male", {"-1": N_FACES - N_MEN, "1": N_MEN})
    assert (recognition.split_column, recognition.sizes_px) == (None, {"8×8": recognition.n_measured})
    data = tomllib.loads(Path("featx.toml").read_text())["data"]
    assert data["labels"]["path"] == "image_id"
    assert data["labels"]["root"] == "img_align_celeba.zip!img_align_celeba"
    _, listing = listed()
    assert not listing.known
    uris = listing.manifest.uris[[0, 17, N_FACES - 1]]
    assert [bytes(read_content(uri))[6:16] for uri in uris] == [b"000001.jpg", b"000018.jpg", b"030000.jpg"]
    assert len({digest(read_content(uri)) for uri in uris}) == 3


def test_an_archive_can_be_the_source_with_a_named_label_table(home: Path, celeba: Path) -> None:
    recognition = featx.init(celeba / "img_align_celeba.zip", labels=celeba / "list_attr_celeba.csv", target="Male")
    assert (recognition.reader, recognition.n_found, recognition.n_unreadable) == ("table", N_FACES, 0)
    _, listing = listed()
    assert not listing.known


@pytest.mark.parametrize("is_packed", [True, False], ids=["archive", "folder"])
def test_faces_two_folders_deep_are_found_as_kaggle_packs_them(home: Path, is_packed: bool) -> None:
    deep = "img_align_celeba/img_align_celeba"
    names = [f"{number:06}.jpg" for number in range(1, 9)]
    rows = "".join(f"{name},{(-1) ** row}\n" for row, name in enumerate(names))
    (home / "celeba").mkdir()
    (home / "celeba" / "list_attr_celeba.csv").write_text(f"image_id,Male\n{rows}")
    with zipfile.ZipFile(home / "celeba" / "faces.zip", "w") as archive:
        for name in names:
            archive.writestr(f"{deep}/{name}", tiny_jpeg())
    if not is_packed:
        shutil.unpack_archive(home / "celeba" / "faces.zip", home / "celeba")
        (home / "celeba" / "faces.zip").unlink()

    recognition = featx.init("celeba")

    assert (recognition.reader, recognition.n_found, recognition.n_unreadable, recognition.target) == (
        "table",
        8,
        0,
        "Male",
    )
    recipe, listing = listed()
    assert recipe.data.labels is not None
    assert recipe.data.labels.root == (f"faces.zip!{deep}" if is_packed else deep)
    assert not listing.known


def test_the_split_of_the_gender_study_is_reproduced_to_the_row(home: Path, celeba: Path) -> None:
    featx.init(celeba, target="Male")
    _, listing = listed()
    manifest = listing.manifest
    truth = encode_classes(manifest, "Male", load_recipe().targets["Male"])
    table = pd.read_csv(celeba / "list_attr_celeba.csv")
    learn, not_train = train_test_split(table, test_size=0.2, random_state=42)
    val, test = train_test_split(not_train, test_size=0.5, random_state=42)

    spec = SplitSpec(test=0.1, val=0.1, method="train_test_split", stratify=False, seed=42, order="together")
    parts = split(manifest, truth, spec)

    expected = {"train": learn, "val": val, "test": test}
    assert {part: len(rows) for part, rows in expected.items()} == {"train": 24_000, "val": 3_000, "test": 3_000}
    for part, rows in expected.items():
        assert sorted(parts.index[parts == part]) == sorted(rows["image_id"])
    assert truth.codes.sum() == N_MEN
    assert truth.codes.tolist() == (table["Male"] == 1).astype(int).tolist()


# affect: small label files beside the images


def test_the_affect_studys_annotations_are_found_by_name(home: Path) -> None:
    rng = np.random.default_rng(0)
    names = make_images(home / "made", ("faces",), n_each=30)
    emotions, feelings = rng.permutation(30) % 8, rng.uniform(-1, 1, (30, 2))
    for folder in ("images", "annotations"):
        (home / "affect" / folder).mkdir(parents=True)
    for rows, name in enumerate(names):
        Image.open(home / "made" / name).save(home / "affect" / "images" / f"{rows}.jpg")
        notes = home / "affect" / "annotations"
        np.save(notes / f"{rows}_exp.npy", np.array(str(emotions[rows])))  # AffectNet writes numbers as text
        np.save(notes / f"{rows}_val.npy", np.array(f"{feelings[rows, 0]:.6f}"))
        np.save(notes / f"{rows}_aro.npy", np.float64(feelings[rows, 1]))
        np.save(notes / f"{rows}_lnd.npy", rng.uniform(0, 128, 136))

    recognition = featx.init("affect")

    assert (recognition.reader, recognition.n_found, recognition.n_unreadable) == ("annotations", 30, 0)
    assert (recognition.target, recognition.candidates) == ("exp", {"exp": 8, "aro": 30, "val": 30})
    assert recognition.ignored == {"is an annotation": 120}
    _, listing = listed()
    manifest = listing.manifest
    assert sorted(manifest.labels.columns) == ["aro", "exp", "val"]
    rows = [int(Path(name).stem) for name in manifest.ids]
    assert manifest.ids.tolist() == [f"images/{number}.jpg" for number in rows]
    assert manifest.column("exp").tolist() == emotions[rows].tolist()
    np.testing.assert_allclose(manifest.column("val"), feelings[rows, 0], atol=1e-6)
    assert manifest.column("aro").tolist() == feelings[rows, 1].tolist()
    assert extracted(stratify="stratify = false").n_embedded == 30


# earth: one HDF5 with the arrays of both parts


@pytest.mark.parametrize("one_hot", [False, True], ids=["codes", "one-hot"])
@pytest.mark.parametrize(
    "names", [("x_train", "y_train", "x_val", "y_val"), ("train/images", "train/labels", "val/images", "val/labels")]
)
def test_the_earth_studys_arrays_are_paired_and_keep_their_parts(
    home: Path, names: tuple[str, str, str, str], one_hot: bool
) -> None:
    rng = np.random.default_rng(0)
    tiles = {part: rng.integers(0, 256, (n, 64, 64, 3), dtype=np.uint8) for part, n in (("train", 36), ("val", 18))}
    labels = {part: np.arange(len(x)) % 9 for part, x in tiles.items()}
    with h5py.File(home / "earth_data.h5", "w") as file:
        for place, values in zip(names, (part for two in zip(tiles, labels, strict=True) for part in two), strict=True):
            array = (tiles if "x" in place or "images" in place else labels)[values]
            file[place] = np.eye(9)[array] if one_hot and array.ndim == 1 else array

    recognition = featx.init("earth_data.h5")

    assert (recognition.reader, recognition.n_found, recognition.target) == ("arrays", 54, "label")
    assert recognition.classes == {str(number): 6 for number in range(9)}
    assert (recognition.parts, recognition.sizes_px) == ({"train": 36, "val": 18}, {"64×64": 54})
    recipe, listing = listed()
    manifest = listing.manifest
    for part in ("train", "val"):
        rows = manifest.column("split")[lambda column, part=part: column == part].index
        assert manifest.take(rows).column("label").tolist() == labels[part].tolist()
        assert (np.stack([read_content(uri) for uri in manifest.take(rows).uris]) == tiles[part]).all()
    assert recipe.split.column == "split"
    extraction = extracted(method='method = "train_test_split"')
    assert (extraction.n_embedded, extraction.parts) == (54, {"train": 36, "val": 18, "test": 0})


# happy_sad: train/<class>/*.jpg and test/<class>/*.jpg


def happy_sad(folder: Path) -> Recognition:
    """Write grey 48 px faces of seven classes and return what is recognised."""
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    for part, n_each in (("train", 8), ("test", 3)):
        for image in make_images(folder / "made" / part, emotions, n_each, size=(48, 48)):
            goal = (folder / "fer2013" / part / image).with_suffix(".jpg")
            goal.parent.mkdir(parents=True, exist_ok=True)
            Image.open(folder / "made" / part / image).convert("L").save(goal)
    return featx.init("fer2013")


def test_the_happy_sad_folders_are_classes_with_a_given_test_part(home: Path) -> None:
    recognition = happy_sad(home)

    assert (recognition.reader, recognition.n_found, recognition.target) == ("folder", 77, "class")
    assert list(recognition.classes.values()) == [11] * 7
    assert (recognition.split_column, recognition.parts) == ("split", {"train": 56, "test": 21})
    assert recognition.sizes_px == {"48×48": 77}
    Path("featx.toml").write_text(Path("featx.toml").read_text().replace("[split]", 'keep = ["happy", "sad"]\n[split]'))
    extraction = extracted(val="val = 0.2", method='method = "train_test_split"')
    assert (extraction.n_embedded, extraction.n_ignored, extraction.parts) == (
        22,
        55,
        {"train": 12, "val": 4, "test": 6},
    )
