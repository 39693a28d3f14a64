"""Folders of several archives: read as one source, or refused with the commands that read them."""

from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.images.sources import read_content
from featx.images.unlabelled import list_images
from tests.images.listings import png, tarred, zipped
from tests.images.test_public_layouts import recognised, write

CLASSES = ("cat", "dog")


def pictures(*patterns: str, numbers: range = range(12)) -> dict[str, bytes]:
    return {pattern.format(i=i): png(i % 6) for pattern in patterns for i in numbers}


def test_archives_of_one_stem_lose_no_images(home: Path) -> None:
    (home / "d").mkdir()
    zipped(home / "d" / "cat.zip", pictures("{i}.png"))
    tarred(home / "d" / "cat.tar", list(pictures("{i}.png").items()))
    zipped(home / "d" / "dog.zip", pictures("{i}.png"))
    with pytest.raises(DataError, match=r"cat\.tar and cat\.zip in .* hold files of the same name"):
        init(home / "d")
    recognition, _, _ = recognised(home / "d", labels="{archive}/{image}", target="archive")
    assert recognition.classes == {"cat.tar": 12, "cat.zip": 12, "dog": 12}


BOTH = ("cat/{i}.png", "dog/{i}.png")
SOURCES = {
    "parts": ({"train": pictures(*BOTH), "test": pictures(*BOTH)}, {"train": 24, "test": 24}),
    "parts in other words": ({"pets_train": pictures(*BOTH), "pets-val": pictures(*BOTH)}, {"train": 24, "val": 24}),
    "parts with their own folders": (
        {part: pictures(*(f"{part}/{name}" for name in BOTH)) for part in ("train", "test")},
        {"train": 24, "test": 24},
    ),
    "a test part without labels": (
        {"train": pictures(*BOTH), "test1": pictures("test1/{i}.png")},
        {"train": 24},
    ),
    "numbered": ({"part1": pictures(*BOTH), "part2": pictures(*BOTH, numbers=range(12, 20))}, {}),
    "numbered below one folder": (
        {f"pets-{n}": pictures(*(f"all/{name}" for name in BOTH), numbers=range(9 * n, 9 * n + 9)) for n in (1, 2)},
        {},
    ),
    "with the same folders": ({"old": pictures(*BOTH), "new": pictures(*BOTH, numbers=range(12, 20))}, {}),
    "one for each class": ({name: pictures("{i}.png") for name in CLASSES}, {}),
    "one for each class with its folder": ({name: pictures(f"{name}/{{i}}.png") for name in CLASSES}, {}),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_several_archives_are_one_source(kind: str, suffix: str, home: Path) -> None:
    archives, parts = SOURCES[kind]
    (home / "d").mkdir()
    for name, files in archives.items():
        if suffix == "zip":
            zipped(home / "d" / f"{name}.zip", files)
        else:
            tarred(home / "d" / f"{name}.tar.gz", list(files.items()))
    recognition, _, listing = recognised(home / "d")
    assert (recognition.reader, list(recognition.classes), recognition.parts) == ("folder", [*CLASSES], parts)
    n_labelled = sum(len(files) for name, files in archives.items() if name != "test1")
    assert (len(listing), recognition.warnings) == (n_labelled, [])
    by_class = listing.manifest.column("class")
    assert all(name == uri.split("//")[0].split("/")[-1].split(".")[0] or name in uri
               for name, uri in zip(by_class, listing.manifest.uris, strict=True))  # fmt: skip
    assert read_content(listing.manifest.uris[0]) in {png(n) for n in range(6)}


def test_a_table_names_images_of_several_archives(home: Path) -> None:
    (home / "d").mkdir()
    for n in (1, 2):
        zipped(home / "d" / f"images_00{n}.zip", pictures("images/{i}.png", numbers=range(9 * n, 9 * n + 9)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", CLASSES[i % 2]) for i in range(9, 27))])
    recognition, _, listing = recognised(home / "d")
    assert (recognition.reader, recognition.classes) == ("table", {"cat": 9, "dog": 9})
    assert listing.known == {}


def test_a_competition_with_its_archives_is_read(home: Path) -> None:
    (home / "d").mkdir()
    for part in ("train", "test"):
        zipped(home / "d" / f"{part}.zip", pictures(f"{part}/{part[1]}{{i}}.jpg"))
    write(home / "d", "train.csv", [("id", "y"), *((f"r{i}", CLASSES[i % 2]) for i in range(12))])
    write(home / "d", "sample_submission.csv", [("id", "y"), *((f"e{i}", "cat") for i in range(12))])
    recognition, _, listing = recognised(home / "d")
    assert (recognition.n_found, recognition.classes) == (12, {"cat": 6, "dog": 6})
    assert all("/train.zip//" in uri for uri in listing.manifest.uris)


def test_archives_of_masks_are_reported_with_a_command_that_runs(home: Path) -> None:
    (home / "d").mkdir()
    for name in ("images", "masks"):
        zipped(home / "d" / f"{name}.zip", pictures("{i}.png"))
    warning = init("d").warnings[0]
    assert warning.endswith("run: featx init 'd!images' --force")
    assert init("d!images", force=True).n_found == 12


def test_files_of_the_same_name_are_refused_with_commands_that_run(home: Path) -> None:
    (home / "d").mkdir()
    for n in (1, 2):
        zipped(home / "d" / f"part{n}.zip", pictures(*BOTH))
    expected = (
        r"part1\.zip and part2\.zip in 'd' hold files of the same name, first 'cat/0\.png'; .* run: featx init "
        r"d/part1\.zip; .* run: featx init d --labels '\{archive\}/\{class\}/\{image\}'"
    )
    with pytest.raises(DataError, match=expected):
        init("d")
    assert init("d/part1.zip").classes == {"cat": 12, "dog": 12}
    recognition = init("d", labels="{archive}/{class}/{image}", target="class", force=True)
    assert (recognition.classes, recognition.n_found) == ({"cat": 24, "dog": 24}, 48)


def test_predict_lists_the_same_ids(home: Path) -> None:
    (home / "d").mkdir()
    for part in ("train", "test"):
        zipped(home / "d" / f"{part}.zip", pictures(*BOTH))
    listing = recognised(home / "d")[2]
    assert sorted(list_images(["d"]).ids) == sorted(listing.manifest.ids)
    assert listing.manifest.ids[0].startswith(("train/", "test/"))


def test_a_folder_that_does_not_exist_in_the_archives_is_reported(home: Path) -> None:
    (home / "d").mkdir()
    with pytest.raises(DataError, match="'d!gone' does not exist"):
        init("d!gone")
