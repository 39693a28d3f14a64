"""Damaged or untidy archives: they are read, or reported in one line with the next step."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from featx.images.digests import identify_image
from featx.images.init import recognise
from featx.images.sources import read_content
from featx.specs.data import ReaderSpec
from tests.images.listings import NAMES, listed, pictures, png, refused, tarred, zipped


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_a_truncated_archive_is_reported(ending: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"all.{ending}"
    zipped(path, pictures()) if ending == "zip" else tarred(path, list(pictures().items()))
    # A tar ends with kilobytes of zeros.
    content = path.read_bytes().rstrip(b"\0") if ending == "tar" else path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert f"{path} cannot be read as an archive, it may be truncated: " in refused(path)


def test_a_tar_truncated_or_damaged_between_members_is_reported(tmp_path: Path) -> None:
    path = tarred(tmp_path / "all.tar", list(pictures().items()))
    with tarfile.open(path) as archive:
        starts = [info.offset for info in archive.getmembers()]
    content = path.read_bytes()
    path.write_bytes(content[: starts[3]])
    assert f"it may be truncated: it has no end marker at byte {starts[3]}" in refused(path)
    path.write_bytes(content[: starts[3]] + b"x" * 512 + content[starts[3] + 512 :])
    assert f"it has no end marker at byte {starts[3]}" in refused(path)
    path.write_bytes(content[: starts[3] + 100])
    assert f"it has no end marker at byte {starts[3]}" in refused(path)
    path.write_bytes(content)
    assert len(listed(path)) == 6


def test_a_file_that_is_not_an_archive_is_reported(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tgz"):
        (tmp_path / name).write_bytes(b"neither zip nor tar" * 100)
        assert "cannot be read as an archive" in refused(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        assert "cannot be read as an archive" in refused(tmp_path / name)


def test_an_encrypted_member_is_unreadable_and_other_members_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "all.zip", pictures())
    with zipfile.ZipFile(path) as archive:
        local = archive.getinfo(NAMES[4]).header_offset
    content = bytearray(path.read_bytes())
    central = content.rindex(NAMES[4].encode()) - 46
    # Set the flag in the member's own header and in the directory at the end.
    content[local + 6] |= 1
    content[central + 8] |= 1
    path.write_bytes(content)
    listing = listed(path)
    assert listing.known == {"all.zip!dog/1.png": ("unreadable", "is encrypted")}
    assert [identify_image(uri).outcome for uri in listing.manifest.uris] == ["", "", "", "", "unreadable", ""]


def test_a_damaged_member_is_unreadable_and_other_members_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "all.zip", pictures())
    content = path.read_bytes()
    start = content.index(png(2)) + 30
    path.write_bytes(content[:start] + b"damage" + content[start + 6 :])
    identities = [identify_image(uri) for uri in listed(path).manifest.uris]
    assert [identity.outcome for identity in identities] == ["", "", "unreadable", "", "", ""]
    assert identities[2].reason.startswith("is damaged in its archive: Bad CRC-32")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_the_last_of_two_members_with_the_same_name_is_used(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"all.{ending}"
    members = [("cat/0.png", png(0)), ("dog/0.png", png(1)), ("cat/0.png", png(2))]
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members:
                archive.writestr(name, content)
    else:
        tarred(path, members)
    manifest = listed(path).manifest
    assert manifest.ids.tolist() == [f"all.{ending}!cat/0.png", f"all.{ending}!dog/0.png"]
    assert [read_content(uri) for uri in manifest.uris] == [png(2), png(1)]


def test_macos_metadata_in_a_zip_is_ignored(tmp_path: Path) -> None:
    extra = {f"__MACOSX/{name.replace('/', '/._')}": b"\0\5\x16\7" for name in NAMES}
    path = zipped(tmp_path / "all.zip", {**pictures(), **extra, "cat/.DS_Store": b"x"})
    listing = listed(path)
    assert listing.manifest.ids.tolist() == [f"all.zip!{name}" for name in NAMES]
    assert sorted(listing.ignored) == sorted([f"all.zip!{name}" for name in extra] + ["all.zip!cat/.DS_Store"])
    assert set(listing.ignored.values()) == {
        "is in a folder of metadata of macOS",
        "is hidden: its name begins with '.'",
    }
    assert listing.warnings == ()


def test_an_archive_may_lie_in_a_folder_with_an_exclamation_mark(tmp_path: Path) -> None:
    (tmp_path / "hey!").mkdir()
    path = zipped(tmp_path / "hey!" / "a!.zip", {f"deep/{name}": content for name, content in pictures().items()})
    assert recognise(str(path), None) == ReaderSpec(source=f"{path}!deep")
    manifest = listed(path).manifest
    assert manifest.ids.tolist() == [f"a!.zip!deep/{name}" for name in NAMES]
    assert [read_content(uri) for uri in manifest.uris] == list(pictures().values())
    path.rename(tmp_path / "hey!" / "a.zip")
    (tmp_path / "hey!" / "t.csv").write_text("\n".join(["path,y", *(f"{name},1" for name in NAMES)]))
    assert listed(tmp_path / "hey!").known == {}


def test_members_with_absolute_names_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"/{name}": content for name, content in pictures().items()})
    manifest = listed(path).manifest
    assert manifest.column("class").tolist() == ["cat"] * 3 + ["dog"] * 3
    assert [read_content(uri) for uri in manifest.uris] == list(pictures().values())
