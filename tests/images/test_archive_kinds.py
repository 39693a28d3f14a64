"""Archives as people have them: made on Windows, large, encrypted, compressed by other methods, nested, with links.

Modules: images.containers.archive_files.
"""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.digests import identify_image
from featx.images.init import recognise
from featx.images.readers import Listing, read_source
from featx.images.sources import open_tree, read_content
from tests.layouts import CLASSES, NAMES, PNGS, write_tar, write_zip

FILES = dict(zip(NAMES, PNGS, strict=True))


def listed(source: Path) -> Listing:
    return read_source(recognise(str(source), None), Path())


def refused(source: Path) -> str:
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as error_info:
        listed(source)
    return str(error_info.value)


def contents(listing: Listing) -> list[object]:
    return [read_content(uri) for uri in listing.manifest.uris]


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def set_field(path: Path, local_offset: int, central_offset: int, value: bytes) -> None:
    """Set a field in the header of every member, and in the directory at the end of a zip."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    for info in infos:
        start = info.header_offset + local_offset
        content[start : start + len(value)] = value
        start = content.rindex(info.filename.encode()) - 46 + central_offset
        content[start : start + len(value)] = value
    path.write_bytes(content)


# One archive


def test_a_zip_with_backslashes_has_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ["cat\\", "dog\\"]:
            archive.writestr(zipfile.ZipInfo(name), b"")
        for name, content in FILES.items():
            archive.writestr(zipfile.ZipInfo(f"all\\{name}".replace("/", "\\")), content)
        archive.writestr(zipfile.ZipInfo("all\\..\\..\\evil.png"), PNGS[0])
    listing = listed(tmp_path / "a.zip")
    assert sorted(listing.manifest.ids) == sorted(f"a.zip!all/{name}" for name in NAMES)
    assert sorted(map(str, contents(listing))) == sorted(map(str, PNGS))
    assert listing.manifest.labels["class"].value_counts().to_dict() == {"cat": 5, "dog": 5}


def test_a_zip64_archive_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in FILES.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    assert sorted(map(str, contents(listed(tmp_path / "a.zip")))) == sorted(map(str, PNGS))


def test_deflate64_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", FILES)
    set_field(path, 8, 10, b"\x09\0")
    assert refused(path) == (
        f"{path}: each of its 10 members is compressed with Deflate64 (method 9), which Python does not read; unpack "
        "it with another program, for example 7-Zip, and pass the folder"
    )


def test_an_encrypted_archive_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", FILES)
    set_field(path, 6, 8, b"\x01\0")
    assert f"{path}: each of its 10 members is encrypted; unpack it with another program" in refused(path)


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-8", "café"), ("utf-8", "猫"), ("cp437", "café"), ("cp437", "Größe")]
)
def test_names_without_the_flag_of_utf8_are_decoded(encoding: str, name: str, tmp_path: Path) -> None:
    length = len(name.encode(encoding))
    path = write_zip(tmp_path / "a.zip", {f"{folder}/0.png": PNGS[0] for folder in ("x" * length, "dog")})
    path.write_bytes(path.read_bytes().replace(b"x" * length, name.encode(encoding)))
    listing = listed(path)
    assert set(listing.manifest.labels["class"]) == {name, "dog"}
    assert contents(listing) == [PNGS[0]] * 2


# Archives in archives


@pytest.mark.parametrize("outer", ["zip", "tar"])
@pytest.mark.parametrize("inner", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_one_nested_level_is_read_like_folders(outer: str, inner: str, tmp_path: Path) -> None:
    parts = {"train": range(6), "test": range(6, 10)}
    archives: dict[str, bytes] = {"README.txt": b"x"}
    for part, rows in parts.items():
        files = {f"{part}/{NAMES[row]}" if part == "train" else NAMES[row]: PNGS[row] for row in rows}
        if inner == "zip":
            archives[f"{part}.zip"] = zip_bytes(files)
        else:
            with tarfile.open(tmp_path / "inner", f"w:{inner[4:]}") as archive:
                for name, content in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
            archives[f"{part}.{inner}"] = (tmp_path / "inner").read_bytes()
    write = write_zip if outer == "zip" else write_tar
    listing = listed(write(tmp_path / f"a.{outer}", archives))
    expected = {f"a.{outer}!{part}/{NAMES[row]}": PNGS[row] for part, rows in parts.items() for row in rows}
    assert dict(zip(listing.manifest.ids, contents(listing), strict=True)) == expected
    assert listing.manifest.labels.loc[f"a.{outer}!test/{NAMES[9]}"].to_dict() == {"class": CLASSES[9], "split": "test"}
    assert listing.ignored == {f"a.{outer}!README.txt": "is not an image: its suffix is '.txt'"}


def test_archives_of_classes_in_an_archive_are_classes(tmp_path: Path) -> None:
    archives = {
        f"{name}.zip": zip_bytes({f"{row}.png": PNGS[row] for row in range(10) if CLASSES[row] == name})
        for name in ("cat", "dog")
    }
    listing = listed(write_zip(tmp_path / "a.zip", archives))
    assert listing.manifest.labels["class"].value_counts().to_dict() == {"cat": 5, "dog": 5}


@pytest.mark.parametrize("names", [("cat.zip", "cat.tar"), ("b/cat.zip", "b.zip")])
def test_archives_of_one_stem_lose_no_images(names: tuple[str, str], tmp_path: Path) -> None:
    files = [{f"{row}.png": PNGS[row], "note.txt": b"x"} for row in (0, 1)]
    if names[1] == "b.zip":
        files[1] = {f"cat/{name}": content for name, content in files[1].items()} | {"x.txt": b""}
    inner_bytes = [zip_bytes(files[0]), zip_bytes(files[1])]
    if names[1].endswith(".tar"):
        inner_bytes[1] = write_tar(tmp_path / "inner.tar", files[1]).read_bytes()
    others = {"dog.zip": zip_bytes({"0.png": PNGS[2]})}
    path = write_zip(tmp_path / "a.zip", dict(zip(names, inner_bytes, strict=True)) | others)
    entries = open_tree(str(path)).entries()
    assert len(entries.images) == 3
    assert sum(entry.name.endswith("note.txt") for entry in entries) == 2
    path = write_zip(tmp_path / "a.zip", dict.fromkeys(["b/cat.zip", "b/cat.ZIP"], inner_bytes[0]) | others)
    assert f"'b/cat.zip' and 'b/cat.ZIP' in {path} hold images of the same name, first 'b/cat/0.png'; " in refused(path)


def test_three_levels_are_refused_precisely(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"b.zip": zip_bytes({"c.zip": zip_bytes(FILES)})})
    assert refused(path) == (
        f"{path} holds archives inside archives inside it, first 'b.zip!c.zip'; unpack a.zip and pass the folder"
    )
    path = write_zip(tmp_path / "a.zip", {"b.zip": zip_bytes({"c.zip": zip_bytes(FILES), **FILES})})
    rule = "is an archive inside 'b.zip'; unpack the outer archive to read it"
    assert listed(path).ignored == {"a.zip!b/c.zip": rule}


def test_a_damaged_inner_archive_is_reported(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"b.zip": zip_bytes(FILES)[:-50]})
    assert f"{path}!b.zip cannot be read as an archive, it may be truncated: " in refused(path)


# Links in tars


def test_links_in_a_tar_have_the_content_of_their_target(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in list(FILES.items())[:2]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        links = {
            "cat/hard.png": (tarfile.LNKTYPE, NAMES[0]),
            "cat/soft.png": (tarfile.SYMTYPE, "../" + NAMES[1]),
            "dog/gone.png": (tarfile.SYMTYPE, "/etc/passwd"),
            "dog/loop.png": (tarfile.SYMTYPE, "loop.png"),
            "dog/lost.png": (tarfile.LNKTYPE, "cat/none.png"),
        }
        for name, (kind, target) in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    listing = listed(tmp_path / "a.tar")
    identities = {
        name[6:]: identify_image(uri) for name, uri in zip(listing.manifest.ids, listing.manifest.uris, strict=True)
    }
    assert identities["cat/hard.png"] == identities[NAMES[0]]
    assert identities["cat/soft.png"] == identities[NAMES[1]]
    assert identities["dog/gone.png"].reason == "is a link to '/etc/passwd', which is not in the archive"
    assert identities["dog/loop.png"].reason == "is a link that leads to itself"
    assert identities["dog/lost.png"].reason == "is a link to 'cat/none.png', which is not in the archive"
