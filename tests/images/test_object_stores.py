"""Sources in object stores, tested with the S3 server of moto on this machine."""

import io
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import featx
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError
from featx.study.extracted_data import HAS_EMBEDDING
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.s3 import CREDENTIALS, SECONDS, elsewhere, refuse, run


@pytest.fixture
def bucket(s3: Any, empty_bucket: str, home: Path) -> str:
    """A bucket with 12 pictures in class folders under ``photos/``, as they lie in ``images/``."""
    for image in make_images(home / "images", n_each=6):
        s3.put_file(str(home / "images" / image), f"{empty_bucket}/photos/{image}")
    return empty_bucket


def recipe(source: str, name: str = "study", **data: str) -> Path:
    """Write a recipe that embeds a source with the toy backbone."""
    settings = "".join(f"\n{key} = {value}" for key, value in data.items())
    file = Path(f"{name}.toml")
    file.write_text(TOY_RECIPE.replace('source = "images"', f'source = "{source}"{settings}'))
    return file


def vectors(file: Path) -> dict[str, bytes]:
    """Return the bytes of each cached row by id."""
    study = Study.open(file)
    ids = study.outcomes.loc[study.outcomes["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
    rows = read_embeddings(study, ids, locked_embeddings(study))
    return {name: row.tobytes() for name, row in zip(rows.ids, rows.x, strict=True)}


def bmp(level: int) -> bytes:
    """Return a picture whose file has the same length for any level."""
    file = io.BytesIO()
    Image.fromarray(np.full((20, 18, 3), level, dtype=np.uint8)).save(file, "BMP")
    return file.getvalue()


def test_init_and_extract_work_on_a_bucket(bucket: str) -> None:
    source = f"s3://{bucket}/photos"
    assert run("init", source) == 0
    text = Path("featx.toml").read_text()
    assert f'source = "{source}"' in text
    assert "12 images" in text
    Path("featx.toml").write_text(text.replace('"efficientnet_lite0"', '"toy"\nweights = "none"'))

    assert run("extract") == 0

    study = Study.open("featx.toml")
    assert study.outcomes["outcome"].tolist() == ["embedded"] * 12
    assert len(set(vectors(Path("featx.toml")).values())) == 12


def test_a_bucket_has_the_vectors_of_the_same_local_folder(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_store, on_disk = recipe(f"s3://{bucket}/photos", "far"), recipe("images", "near")
    extraction = featx.extract(in_store)
    assert (extraction.n_found, extraction.n_embedded, extraction.n_read) == (12, 12, 12)
    monkeypatch.setenv("FEATX_CACHE", "another")

    assert featx.extract(on_disk).n_embedded == 12

    at_home = vectors(on_disk)
    monkeypatch.delenv("FEATX_CACHE")
    assert vectors(in_store) == at_home
    assert Study.open(in_store).manifest.uris[0] == f"s3://{bucket}/photos/dark/000.png"


def test_a_table_in_the_bucket_names_images_below_it(s3: Any, bucket: str) -> None:
    names = [f"{level}/00{number}.png" for level in ("dark", "light") for number in range(5)]
    rows = "".join(f"{name},{number % 2}\n" for number, name in enumerate(names))
    s3.pipe_file(f"{bucket}/labels.csv", f"file,odd\n{rows}dark/gone.png,1\n".encode())

    recognition = featx.init(f"s3://{bucket}")

    assert (recognition.reader, recognition.n_found, recognition.target) == ("table", 11, "odd")
    assert recognition.classes == {"0": 5, "1": 6}
    text = Path("featx.toml").read_text()
    assert 'labels = {file = "labels.csv", separator = "comma", path = "file", root = "photos"}' in text
    Path("featx.toml").write_text(text.replace('"efficientnet_lite0"', '"toy"\nweights = "none"'))
    extraction = featx.extract()
    assert (extraction.n_embedded, extraction.n_missing, extraction.n_ignored) == (10, 1, 2)
    assert extraction.failures == [("dark/gone.png", "missing", "there is no such object")]
    assert extraction.ignored == {"is not named in labels.csv": 2}
    on_disk = recipe("images", "near", drop_unlabelled="false")
    featx.extract(on_disk)
    assert {name: row for name, row in vectors(on_disk).items() if name in names} == vectors(Path("featx.toml"))


def test_a_second_extraction_reads_no_object(s3: Any, bucket: str) -> None:
    file = recipe(f"s3://{bucket}/photos")
    featx.extract(file)
    refuse(s3, bucket, "s3:GetObject")
    with pytest.raises(PermissionError, match=r"Forbidden|Denied"):
        s3.cat_file(f"{bucket}/photos/dark/000.png")

    repeated_extraction = featx.extract(file)

    assert (repeated_extraction.n_cached, repeated_extraction.n_read, repeated_extraction.failures) == (12, 0, [])


def test_a_changed_object_of_equal_size_is_read_again(s3: Any, bucket: str) -> None:
    for level in (10, 20):
        s3.pipe_file(f"{bucket}/photos/dark/{level}.bmp", bmp(level))
    file = recipe(f"s3://{bucket}/photos")
    assert featx.extract(file).n_read == 14
    vectors_before = vectors(file)
    s3.pipe_file(f"{bucket}/photos/dark/10.bmp", bmp(99))

    extraction = featx.extract(file)

    assert (extraction.n_read, extraction.n_embedded, extraction.n_cached) == (1, 1, 13)
    vectors_after = vectors(file)
    assert {name for name in vectors_after if vectors_after[name] != vectors_before[name]} == {"dark/10.bmp"}


def test_a_bucket_is_listed_again_in_the_same_process(s3: Any, bucket: str) -> None:
    file = recipe(f"s3://{bucket}/photos")
    assert featx.extract(file).n_found == 12
    code = "import s3fs\n" + f"s3fs.S3FileSystem().rm('{bucket}/photos/dark/000.png')"
    subprocess.run([sys.executable, "-c", code], check=True)

    assert featx.extract(file).n_found == 11


def test_unreadable_and_refused_objects_have_outcomes(s3: Any, bucket: str) -> None:
    s3.pipe_file(f"{bucket}/photos/dark/page.png", b"<html>")
    s3.pipe_file(f"{bucket}/photos/dark/empty.png", b"")
    s3.pipe_file(f"{bucket}/photos/dark/notes.txt", b"words")
    refuse(s3, bucket, "s3:GetObject", "/photos/light/000.png")

    extraction = featx.extract(recipe(f"s3://{bucket}/photos"), on_error=Path("bad"))

    assert (extraction.n_found, extraction.n_embedded, extraction.n_unreadable, extraction.n_ignored) == (15, 11, 3, 1)
    reasons = {name: reason for name, _, reason in extraction.failures}
    assert reasons.keys() == {"dark/page.png", "dark/empty.png", "light/000.png"}
    assert reasons["dark/page.png"] == "is not an image of a known format; copied to bad/dark/page.png"
    assert reasons["dark/empty.png"].startswith("is empty")
    assert reasons["light/000.png"].startswith("the object store refuses: ")
    assert Path("bad/dark/page.png").read_bytes() == b"<html>"
    assert s3.exists(f"{bucket}/photos/dark/page.png")


def test_wrong_credentials_are_reported_in_one_line(
    bucket: str, keys_are_checked: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("init", f"s3://{bucket}/photos") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: data.source: s3://{bucket}/photos cannot be listed: ")
    assert "Access Key Id you provided does not exist" in line
    assert "check its name, its permissions and the store's settings (for S3: AWS_ENDPOINT_URL" in line
    assert not Path("featx.toml").exists()


def test_a_missing_bucket_or_prefix_is_reported(bucket: str) -> None:
    with pytest.raises(DataError, match=r"s3://none-such/x cannot be listed: .*does not exist; check its name"):
        featx.init("s3://none-such/x")
    with pytest.raises(DataError, match=rf"no objects at 's3://{bucket}/fotos'; expected keys that begin with it"):
        featx.init(f"s3://{bucket}/fotos")
    with pytest.raises(DataError, match=rf"no objects at 's3://{bucket}/fotos'"):
        featx.extract(recipe(f"s3://{bucket}/fotos"))


def test_a_prefix_is_a_folder_and_not_a_part_of_a_name(s3: Any, bucket: str) -> None:
    s3.pipe_file(f"{bucket}/photos2/dark/000.png", bmp(1))
    assert featx.init(f"s3://{bucket}/photos").n_found == 12
    assert featx.init(f"s3://{bucket}/photos/", force=True).n_found == 12


def test_an_unreachable_endpoint_is_reported_within_seconds(home: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        start = time.monotonic()
        process = elsewhere("init", "s3://bucket/photos", **CREDENTIALS, AWS_ENDPOINT_URL=endpoint)
        elapsed_s = time.monotonic() - start
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: data.source: s3://bucket/photos cannot be listed: Could not connect to the endpoint")
    assert endpoint in line
    assert elapsed_s < SECONDS


def test_an_unknown_kind_of_store_is_reported(home: Path) -> None:
    with pytest.raises(DataError, match=r"data\.source: unknown protocol 'foo' of an object store"):
        featx.init("foo://x")
    with pytest.raises(DataError, match=r"data\.source: unknown protocol 'foo' of an object store"):
        featx.extract(recipe("foo://x/y"))


def test_a_missing_s3fs_is_reported_with_its_extra(home: Path) -> None:
    process = elsewhere("init", "s3://bucket/photos", code="sys.modules['s3fs'] = None  # as if it were not installed")
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line == ('error: data.source: s3:// needs a package that is not installed; pip install "featx[s3]"')


def test_other_stores_of_fsspec_are_read(home: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        for image in make_images(home / "images", n_each=2):
            memory.pipe_file(f"/shelf/photos/{image}", (home / "images" / image).read_bytes())
        recognition = featx.init("memory://shelf/photos")
        assert (recognition.n_found, recognition.classes, recognition.n_unreadable) == (4, {"dark": 2, "light": 2}, 0)
    finally:
        memory.rm("/shelf", recursive=True)
