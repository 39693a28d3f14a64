"""Public data sets in miniature, in their own layouts: recognised, and read as they are meant.

Modules: embeddings.labelled_listing, images.choice_description, images.class_sizes, images.image_reader,
images.inventory, images.label_files, images.label_tables, images.name_pattern, images.recipe_document,
images.recognition_warnings, images.split_columns, images.table_choice, images.target_proposals.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.images.init import Recognition, init
from featx.images.readers import Listing, read_source
from featx.specs.recipe import Recipe, load_recipe
from featx.study.splits import split
from featx.tables.encoding import encode_target, strata


def draw(folder: Path, *names: str) -> None:
    """Write a small image of random pixels under each name."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(abs(hash(name)) % 2**32).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)


def write(folder: Path, name: str, rows: Sequence[Sequence[object]], separator: str = ",") -> None:
    """Write rows as a table of text."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(separator.join(map(str, row)) for row in rows) + "\n")


def recognised(source: Path, **options: str) -> tuple[Recognition, Recipe, Listing]:
    """Return what init found, the recipe that it wrote, and the images that the recipe reads; the recipe must fit."""
    recognition = init(source, **options)  # type: ignore[arg-type]
    recipe = load_recipe()
    listing = read_source(recipe.data, recipe.folder)
    for name, target in recipe.targets.items():
        encode_target(listing.manifest, name, target)
        split(listing.manifest, strata(listing.manifest, name, target), recipe.split)
    assert len(listing) == recognition.n_found
    inventory = recognition.inventory
    assert sum(inventory.uses.values()) == inventory.n_files == sum(inventory.types.values())
    return recognition, recipe, listing


def kaggle(folder: Path) -> None:
    draw(folder, *(f"train/a{i}.jpg" for i in range(24)), *(f"test/t{i}.jpg" for i in range(8)))
    write(folder, "train.csv", [("file", "label"), *((f"a{i}.jpg", ["cat", "dog"][i % 2]) for i in range(24))])
    write(folder, "test.csv", [("file",), *((f"t{i}.jpg",) for i in range(8))])
    write(
        folder, "sample_submission.csv", [("file", "label"), *((f"t{i}.jpg", ["cat", "dog"][i % 2]) for i in range(8))]
    )


def test_a_kaggle_competition_is_read_from_its_train_table(home: Path) -> None:
    kaggle(home / "d")
    recognition, _, listing = recognised(home / "d")
    assert (recognition.target, recognition.classes) == ("label", {"cat": 12, "dog": 12})
    assert all("/train/" in uri for uri in listing.manifest.uris)
    reasons = {table.file: table.reason for table in recognition.inventory.tables if not table.is_used}
    assert "no labels" in reasons["test.csv"]
    assert "submission template" in reasons["sample_submission.csv"]
    assert recognition.inventory.uses["image without label, named in test.csv"] == 8


@pytest.mark.parametrize("table_name", ["sample_submission.csv", "test.csv"])
def test_a_kaggle_competition_may_lack_a_table(table_name: str, home: Path) -> None:
    kaggle(home / "d")
    (home / "d" / table_name).unlink()
    assert recognised(home / "d")[0].n_found == 24


ATTRIBUTES = ("Bald", "Male", "Young")


def celeba_rows() -> list[tuple[object, ...]]:
    return [(f"{i:06}.jpg", 1 - 2 * (i % 3 == 0), 1 - 2 * (i % 2), 1) for i in range(1, 41)]


def test_celeba_is_read_with_its_partition(home: Path) -> None:
    folder = home / "celeba"
    draw(folder, *(f"img_align_celeba/img_align_celeba/{row[0]}" for row in celeba_rows()))
    write(folder, "list_attr_celeba.csv", [("image_id", *ATTRIBUTES), *celeba_rows()])
    partition = [(row[0], 0 if i < 24 else 1 if i < 32 else 2) for i, row in enumerate(celeba_rows())]
    write(folder, "list_eval_partition.csv", [("image_id", "partition"), *partition])
    boxes = [(row[0], 3 * i, i, i % 7, 5) for i, row in enumerate(celeba_rows())]
    write(folder, "list_bbox_celeba.csv", [("image_id", "x_1", "y_1", "width", "height"), *boxes])
    recognition, recipe, listing = recognised(folder, target="Male")
    assert recognition.classes == {"-1": 20, "1": 20}
    assert recognition.parts == {"train": 24, "val": 8, "test": 8}
    assert recipe.split.parts == {"0": "train", "1": "val", "2": "test"}
    assert listing.manifest.ids.tolist() == [row[0] for row in celeba_rows()]


def test_celeba_is_read_from_its_text_file(home: Path) -> None:
    folder = home / "celeba"
    draw(folder, *(f"img_align_celeba/{row[0]}" for row in celeba_rows()))
    lines = ["40", " ".join(ATTRIBUTES) + " ", *(f"{a} {b:2} {c:2} {d:2}" for a, b, c, d in celeba_rows())]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    recognition, _, listing = recognised(folder, target="Male")
    assert recognition.classes == {"-1": 20, "1": 20}
    assert listing.manifest.column("Bald").tolist() == [row[1] for row in celeba_rows()]


def test_fer2013_folders_are_classes_and_parts(home: Path) -> None:
    names = [f"{part}/{name}/im{i}.png" for part in ("train", "test") for name in ("angry", "happy") for i in range(6)]
    draw(home / "fer", *names)
    recognition, recipe, _ = recognised(home / "fer")
    assert (recognition.parts, recognition.classes) == ({"train": 12, "test": 12}, {"angry": 12, "happy": 12})
    assert recipe.split.column == "split"


def test_utkface_is_read_by_a_pattern_of_its_names(home: Path) -> None:
    names = [f"UTKFace/{18 + 7 * i % 30}_{i % 2}_{i % 3}_2017{i:04}.jpg.chip.jpg" for i in range(60)]
    draw(home / "d", *names)
    recognition, recipe, listing = recognised(
        home / "d", labels="{age:int}_{gender:int}_{race:int}_{date}.jpg.chip", target="age"
    )
    assert recipe.targets["age"].kind == "numbers"
    assert listing.manifest.column("race").tolist() == [int(name.split("_")[2]) for name in listing.manifest.ids]
    assert recognition.candidates["gender"] == 2


def test_appa_real_has_one_table_for_each_part(home: Path) -> None:
    folder = home / "appa"
    sizes = {"train": 20, "valid": 8, "test": 8}
    for part, n in sizes.items():
        draw(folder, *(f"{part}/{i:06}.jpg" for i in range(n)), *(f"{part}/{i:06}.jpg_face.jpg" for i in range(n)))
        rows = [(f"{i:06}.jpg", 38, 20.5 + 1.37 * i, 4.1, 21 + i) for i in range(n)]
        columns = ("file_name", "num_ratings", "apparent_age_avg", "apparent_age_std", "real_age")
        write(folder, f"gt_avg_{part}.csv", [columns, *rows])
    recognition, recipe, listing = recognised(folder, target="apparent_age_avg")
    assert recognition.parts == {"train": 20, "val": 8, "test": 8}
    assert recipe.targets["apparent_age_avg"].kind == "numbers"
    parts = listing.manifest.column("split")
    assert {Path(uri).parent.name for uri in listing.manifest.uris[(parts == "val").to_numpy()]} == {"valid"}


def test_gtsrb_has_tables_of_paths_for_train_and_test(home: Path) -> None:
    folder = home / "gtsrb"
    rows: dict[str, list[tuple[object, ...]]] = {}
    for table, n in (("Train", 40), ("Test", 12)):
        names = [f"Train/{i % 2}/{i:05}.png" if table == "Train" else f"Test/{i:05}.png" for i in range(n)]
        draw(folder, *names)
        rows[table] = [(27, 26, i % 2, name) for i, name in enumerate(names)]
    draw(folder, "Meta/0.png", "Meta/1.png")
    rows["Meta"] = [(27, 26, i, f"Meta/{i}.png") for i in range(2)]
    for table, values in rows.items():
        write(folder, f"{table}.csv", [("Width", "Height", "ClassId", "Path"), *values])
    recognition, _, _ = recognised(folder, target="ClassId")
    assert (recognition.n_found, recognition.classes) == (52, {"0": 26, "1": 26})
    assert recognition.parts == {"train": 40, "test": 12}


def test_isic_one_hot_columns_are_one_target(home: Path) -> None:
    folder = home / "isic"
    names = [f"ISIC_{i:07}" for i in range(30)]
    draw(folder, *(f"ISIC_2019_Training_Input/{name}.jpg" for name in names))
    rows = [(name, *(f"{float(i % 3 == k)}" for k in range(3))) for i, name in enumerate(names)]
    write(folder, "ISIC_2019_Training_GroundTruth.csv", [("image", "MEL", "NV", "BCC"), *rows])
    metadata = [(name, 40 + i % 5, "female", f"BCN_{i // 2}") for i, name in enumerate(names)]
    write(folder, "ISIC_2019_Training_Metadata.csv", [("image", "age_approx", "sex", "lesion_id"), *metadata])
    recognition, recipe, listing = recognised(folder)
    assert recognition.classes == {"MEL": 10, "NV": 10, "BCC": 10}
    truth = encode_target(listing.manifest, "class", recipe.targets["class"])
    assert truth.names == ("MEL", "NV", "BCC")
    assert listing.manifest.ids[0] == "ISIC_0000000.jpg"


def test_nih_chest_x_rays_have_several_labels_and_patients(home: Path) -> None:
    folder = home / "nih"
    findings = ["Edema", "No Finding", "Edema|Mass", "Mass", "Hernia|Mass"]
    rows = [(f"{i:08}_000.png", findings[i % 5], i % 3, i // 2, 30 + i % 40, "MF"[i % 2]) for i in range(40)]
    for i, row in enumerate(rows):
        draw(folder, f"images_{i % 3:03}/images/{row[0]}")
    columns = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
    write(folder, "Data_Entry_2017.csv", [columns, *rows])
    write(folder, "BBox_List_2017.csv", [("Image Index", "Finding Label", "x"), (rows[0][0], "Mass", 3)])
    write(folder, "test_list.txt", [(row[0],) for row in rows[30:]])
    recognition, recipe, listing = recognised(folder)
    target = recipe.targets["Finding Labels"]
    assert (target.kind, target.separator, recipe.split.by) == ("labels", "|", "Patient ID")
    assert recognition.classes == {"Edema": 16, "Hernia": 8, "Mass": 24, "No Finding": 8}
    assert listing.manifest.ids[0] == "images_000/images/00000000_000.png"


def test_ham10000_spreads_its_images_over_folders(home: Path) -> None:
    folder = home / "ham"
    rows = [(f"HAM_{i // 2:07}", f"ISIC_{i:07}", ["nv", "mel"][i % 4 // 2], "histo", 40 + i % 3) for i in range(48)]
    for i, row in enumerate(rows):
        draw(folder, f"HAM10000_images_part_{1 + i % 2}/{row[1]}.jpg")
    write(folder, "HAM10000_metadata.csv", [("lesion_id", "image_id", "dx", "dx_type", "age"), *rows])
    recognition, recipe, _ = recognised(folder)
    assert (recognition.target, recognition.classes) == ("dx", {"mel": 24, "nv": 24})
    assert recipe.split.by == "lesion_id"


def test_eurosat_folders_lie_below_one_folder(home: Path) -> None:
    draw(home / "d", *(f"2750/{name}/{name}_{i}.jpg" for name in ("Forest", "River") for i in range(20)))
    recognition, recipe, _ = recognised(home / "d")
    assert recognition.classes == {"Forest": 20, "River": 20}
    assert recipe.data.source == "d/2750"


@pytest.mark.parametrize("table", ["_classes.csv", "metadata.csv"])
def test_tables_in_part_folders_are_read_together(table: str, home: Path) -> None:
    for part, n in (("train", 24), ("valid", 8), ("test", 8)):
        names = [f"im{i}_{part}.jpg" for i in range(n)]
        draw(home / "d", *(f"{part}/{name}" for name in names))
        rows = [(name, int(i % 3 == 0), int(i % 3 == 1), int(i % 3 == 2)) for i, name in enumerate(names)]
        write(home / "d", f"{part}/{table}", [("filename", " cat", " dog", " fox"), *rows])
    recognition, _, _ = recognised(home / "d")
    assert recognition.classes == {"cat": 14, "dog": 14, "fox": 12}
    assert recognition.parts == {"train": 24, "val": 8, "test": 8}


def test_folders_in_class_folders_stay_together(home: Path) -> None:
    draw(home / "d", *(f"{name}/p{i // 3}/{i}.png" for name in ("cat", "dog") for i in range(30)))
    recognition, recipe, listing = recognised(home / "d")
    assert (recognition.classes, recipe.split.by) == ({"cat": 30, "dog": 30}, "subfolder")
    assert listing.manifest.column("subfolder").nunique() == 10


def images_beside_a_table(folder: Path, *rows: tuple[object, ...]) -> None:
    draw(folder, *(f"{i}.png" for i in range(6)))
    write(folder, "t.csv", rows)


# Images without labels, and the reason that is printed.
LAYOUTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "flat": (
        lambda folder: draw(folder, *(f"{i}.png" for i in range(6))),
        "all images are in one folder, and there is no table",
    ),
    "one class": (
        lambda folder: draw(folder, *(f"cat/{i}.png" for i in range(6))),
        "all images are in one folder 'cat', and there is no table",
    ),
    "flat parts": (
        lambda folder: draw(folder, *(f"{part}/{i}.png" for part in ("train", "test") for i in range(6))),
        "the part folders 'test', 'train' hold no class folders, and there is no table",
    ),
    "nested": (
        lambda folder: draw(folder, "0/deep/0.png", "a.png"),
        "the images are not all in class folders, and there is no table",
    ),
    "a table of paths": (
        lambda folder: images_beside_a_table(folder, ("file",), *((f"{i}.png",) for i in range(6))),
        "t.csv names 6 images and has no labels",
    ),
    "a table of other images": (
        lambda folder: images_beside_a_table(folder, ("file", "y"), *((f"x{i}.png", i % 2) for i in range(6))),
        "t.csv names 6 images, none of which is in the source (first 'x0.png')",
    ),
    "a table of something else": (
        lambda folder: images_beside_a_table(folder, ("name", "n"), ("ada", 36), ("bob", 40)),
        "t.csv names no image of the source: no column holds their paths (first row 'ada', '36')",
    ),
    "constant and unique columns": (
        lambda folder: images_beside_a_table(
            folder, ("file", "a", "b", "c"), *((f"{i}.png", "x", f"t{i}", i) for i in range(6))
        ),
        "t.csv has no column that could be predicted: 'a' (only the value 'x'), 'b' (6 different texts in 6 rows), "
        "'c' (row numbers)",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_without_labels_are_recognised(layout: str, home: Path) -> None:
    make, reason = LAYOUTS[layout]
    make(home / "d")
    recognition, recipe, listing = recognised(home / "d")
    assert (recognition.target, recipe.targets) == ("", {})
    assert recognition.choice == [f"none: {reason}"]
    assert any("nothing is fitted" in warning for warning in recognition.warnings)
    assert len(listing)
