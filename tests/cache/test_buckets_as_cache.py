"""Studies with a cache in a bucket give the same vectors, models and command results as with a folder."""

import json
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import featx
import featx.cache
from featx.embeddings.doctor import machine
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, RecipeError, UnreachableError
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.image_files import wait_until_settled
from tests.printed import unwrapped
from tests.processes import start_script
from tests.s3 import CREDENTIALS, SECONDS, allow, elsewhere, refuse, run

NOTES = {"digests.sqlite", "throughputs.json", "benchmarks.json"}


@pytest.fixture
def cache(empty_bucket: str, toy_home: Path) -> str:
    """Return a prefix in a bucket: the cache of ``remote.toml``; that of ``local.toml`` is a folder."""
    place = f"s3://{empty_bucket}/teams/cache"
    wait_until_settled()
    Path("remote.toml").write_text(f'{TOY_RECIPE}\n[paths]\ncache = "{place}"\n')
    Path("local.toml").write_text(f'{TOY_RECIPE}\n[paths]\ncache = "local"\n')
    return place


def vectors(recipe: str) -> bytes:
    study = Study.open(recipe)
    ids = np.concatenate([study.ids(part) for part in ("train", "val", "test")])
    return read_embeddings(study, ids, locked_embeddings(study)).x.tobytes()


def printed_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def break_row(s3: Any, cache: str) -> str:
    """Change a byte of one row of a cache's only segment."""
    (key,) = [key for key in s3.find(cache.removeprefix("s3://")) if key.endswith("x/c/0/0")]
    content = bytearray(s3.cat_file(key))
    content[5] ^= 1
    s3.pipe_file(key, bytes(content))
    return key


def test_a_cache_in_a_bucket_gives_the_same_vectors_and_models(cache: str) -> None:
    remote, local = featx.extract("remote.toml"), featx.extract("local.toml")

    assert (remote.n_embedded, local.n_embedded) == (48, 48)
    assert remote.embeddings[0]["store"].startswith(f"{cache}/toy-")
    assert vectors("remote.toml") == vectors("local.toml")
    for recipe in ("remote.toml", "local.toml"):
        assert run("fit", "-r", recipe) == 0
    runs = [
        {run_folder.name: run_folder for run_folder in Study.open(recipe).runs()}
        for recipe in ("remote.toml", "local.toml")
    ]
    assert runs[0].keys() == runs[1].keys()
    assert len(runs[0]) == 2
    for name, run_folder in runs[0].items():
        assert run_folder.predictions.proba.tobytes() == runs[1][name].predictions.proba.tobytes()


def test_a_second_extraction_embeds_nothing(cache: str, s3: Any, empty_bucket: str) -> None:
    featx.extract("remote.toml")
    objects_before = s3.find(empty_bucket)
    repeated_extraction = featx.extract("remote.toml")
    assert (repeated_extraction.n_embedded, repeated_extraction.n_cached, repeated_extraction.n_read) == (0, 48, 0)
    assert s3.find(empty_bucket) == objects_before


@pytest.mark.slow
def test_two_concurrent_extractions_store_the_same_vectors(cache: str) -> None:
    featx.extract("local.toml")
    names = ("one", "two")
    for name in names:
        Path(f"{name}.toml").write_text(Path("remote.toml").read_text())
    code = "import tests.conftest, featx\nprint(featx.extract('NAME.toml').n_found)"

    writers = [start_script(code.replace("NAME", name), stderr=subprocess.PIPE) for name in names]
    errors = [writer.communicate(timeout=4 * SECONDS)[1] for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0], errors
    for name in names:
        assert vectors(f"{name}.toml") == vectors("local.toml")
    (result,) = featx.cache.compact("one.toml")
    assert result.n_rows == 48
    (store,) = featx.cache.ls("one.toml")
    assert (store.n_images, store.n_rows, store.recipes) == (48, 48, ["local", "one", "two"])
    assert vectors("two.toml") == vectors("local.toml")


def test_notes_of_a_remote_cache_lie_in_a_local_folder(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    featx.extract("remote.toml")
    names = {path.name for path in Path("cache").iterdir() if not path.name.startswith(".")}
    assert "digests.sqlite" in names
    assert names <= NOTES
    assert not [path for path in Path().iterdir() if path.name.startswith("s3")]

    Path("cache").rename("elsewhere")
    monkeypatch.setenv("FEATX_LOCAL_CACHE", "elsewhere")
    assert featx.extract("remote.toml").n_read == 0
    assert not Path("cache").exists()
    monkeypatch.delenv("FEATX_LOCAL_CACHE")
    Path("remote.toml").write_text(f'{Path("remote.toml").read_text()}local_cache = "elsewhere"\n')
    assert featx.extract("remote.toml").n_read == 0
    assert not Path("cache").exists()


def test_a_cache_is_named_by_the_environment_and_by_the_option(
    cache: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEATX_CACHE", cache)
    featx.extract("local.toml")
    assert not Path("local").exists()
    monkeypatch.delenv("FEATX_CACHE")
    capsys.readouterr()
    assert run("cache", "ls", "--cache", cache, "-r", "local.toml", "--json") == 0
    assert printed_json(capsys)["stores"][0]["n_images"] == 48
    facts = machine(Study.open("remote.toml").cache)
    assert dict(facts)["cache"] == cache
    assert "of disk space free" in dict(facts)["local cache"]


def test_embedders_share_the_cache_with_recipes(cache: str) -> None:
    featx.extract("remote.toml")
    paths = [str(path) for path in sorted(Path("images").rglob("*.png"))]
    with pytest.raises(DataError, match="has lost a slash"):
        featx.ImageEmbedder("toy", weights="none", cache=Path(cache)).transform(paths)
    embedder = featx.ImageEmbedder("toy", weights="none", cache=cache)
    stores_before = featx.cache.ls("remote.toml")
    x = embedder.fit(paths).transform(paths)
    assert x.shape == (48, 8)
    (store,) = featx.cache.ls("remote.toml")
    assert (store.n_segments, store.n_rows) == (stores_before[0].n_segments, 48)
    labels = [Path(path).parent.name for path in paths]
    assert make_pipeline(embedder, LogisticRegression()).fit(paths, labels).score(paths, labels) > 0.9


def test_the_commands_for_caches_work_on_a_bucket(cache: str, s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    featx.extract("remote.toml")
    vectors_before = vectors("remote.toml")
    make_images(Path("images"), ("dim",), n_each=5)
    featx.extract("remote.toml")
    recipe = ("-r", "remote.toml")
    capsys.readouterr()

    assert run("cache", "ls", *recipe, "--json") == 0
    (store,) = printed_json(capsys)["stores"]
    assert (store["n_images"], store["n_segments"], store["recipes"]) == (53, 2, ["remote"])
    assert store["n_bytes"] == sum(s3.info(key)["size"] for key in s3.find(cache.removeprefix("s3://")))
    assert (
        abs(time.time() - time.mktime(time.strptime(store["changed"][:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 600
    )

    assert run("cache", "verify", *recipe) == 0
    assert "zarr: 53 rows in 2 segments, all checksums are right" in unwrapped(capsys.readouterr().out)

    assert run("cache", "compact", *recipe) == 0
    assert "53 images in 1 segments (before: 2)" in capsys.readouterr().out
    assert vectors("remote.toml")[:8] == vectors_before[:8]

    capsys.readouterr()
    assert run("cache", "export", "toy", "--to", "vectors.npz", *recipe) == 0
    assert np.load("vectors.npz")["x"].shape == (53, 8)
    assert run("cache", "export", store["store"][:8], "--to", "all.npz", "--cache", cache) == 0
    assert np.load("all.npz")["x"].shape == (53, 8)


def test_a_damaged_cache_in_a_bucket_is_repaired(cache: str, s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    featx.extract("remote.toml")
    recipe = ("-r", "remote.toml")
    (listing,) = featx.cache.ls("remote.toml")
    capsys.readouterr()

    break_row(s3, cache)
    assert run("cache", "verify", *recipe) == 1
    assert "1 rows damaged, 47 intact" in unwrapped(capsys.readouterr().out)
    assert run("cache", "verify", "--repair", *recipe) == 0
    assert "repaired: 1 of 1 damaged rows embedded again" in capsys.readouterr().out
    assert run("cache", "verify", *recipe) == 0

    header = f"{cache.removeprefix('s3://')}/{listing.store}/zarr.json"
    s3.pipe_file(header, s3.cat_file(header).replace(b"avg", b"max"))
    assert run("cache", "verify", *recipe) == 1
    s3.rm_file(header)
    assert run("cache", "verify", "--repair", *recipe) == 0
    assert run("cache", "verify", *recipe) == 0


def test_gc_removes_unneeded_objects_from_a_bucket(
    cache: str, s3: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    featx.extract("remote.toml")
    bucket_path = cache.removeprefix("s3://")
    (store,) = [listing.store for listing in featx.cache.ls("remote.toml")]
    for key in s3.find(f"{bucket_path}/{store}"):
        s3.pipe_file(key.replace(store, "old-0123456789abcdef.zarr"), s3.cat_file(key))
    s3.pipe_file(f"{bucket_path}/{store}/segment-0123456789abcdef/x/c/0/0", b"half")
    foreign = {f"{bucket_path}/{name}" for name in ("my.zarr/segment-1/x", ".clock-settings.json")}
    for key in foreign:
        s3.pipe_file(key, b"x")
    monkeypatch.setattr("featx.storage.objects.LEASE_S", -1.0)
    objects_before = s3.find(bucket_path)
    capsys.readouterr()

    assert run("cache", "gc", "--dry-run", "-r", "remote.toml", "--json") == 0
    result = printed_json(capsys)
    assert result["leftovers"] == [f"{store}/segment-0123456789abcdef"]
    assert result["unneeded"] == ["old-0123456789abcdef.zarr"]
    assert result["invalid_stores"] == ["my.zarr"]
    assert s3.find(bucket_path) == objects_before

    assert run("cache", "gc", "--yes", "-r", "remote.toml") == 0
    objects = set(s3.find(bucket_path))
    assert foreign <= objects
    assert all(key.startswith(f"{bucket_path}/{store}/") for key in objects - foreign)
    assert len(objects - foreign) == 8
    assert featx.extract("remote.toml").n_cached == 48


def test_an_extraction_without_write_permission_can_be_resumed(
    cache: str, s3: Any, empty_bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(s3, empty_bucket, "s3:PutObject")
    assert run("extract", "-r", "remote.toml") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert f"error: {cache}/toy-" in line
    assert "cannot be written: " in line
    assert line.endswith("stored rows are kept")
    allow(s3, empty_bucket)
    assert featx.extract("remote.toml").n_embedded == 48


def test_wrong_credentials_are_reported_in_one_line(
    cache: str, keys_are_checked: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("extract",), ("cache", "ls"), ("cache", "verify", "--repair"), ("cache", "gc", "--yes")):
        assert run(*words, "-r", "remote.toml") == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
        assert line.startswith(f"error: {cache}")
        assert "Access Key Id you provided does not exist" in line or "Forbidden" in line
        assert (
            "check its name (paths.cache), its permissions and the store's settings (for S3: AWS_ENDPOINT_URL" in line
        )


def test_a_missing_bucket_or_prefix_is_reported(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=f"there is no cache at {cache}; name one with '--cache', or run 'featx extract'"
    ):
        featx.cache.ls("remote.toml")
    monkeypatch.setenv("FEATX_CACHE", "s3://none-such/x")
    with pytest.raises(UnreachableError, match=r"s3://none-such/x/toy-\w+\.zarr cannot be listed: .*does not exist"):
        featx.extract("remote.toml")
    monkeypatch.setenv("FEATX_CACHE", "foo://x")
    with pytest.raises(DataError, match=r"paths\.cache: unknown protocol 'foo'"):
        featx.extract("remote.toml")


def test_runs_do_not_go_to_a_bucket(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("remote.toml").write_text(f'{TOY_RECIPE}\n[paths]\nruns = "{cache}"\n')
    with pytest.raises((DataError, RecipeError), match=r"paths\.runs: found 's3://.*', expected a local folder"):
        featx.extract("remote.toml")


def test_without_s3fs_the_extra_that_brings_it_is_named(home: Path) -> None:
    code = "sys.modules['s3fs'] = None  # as if it were not installed"
    process = elsewhere("cache", "ls", "--cache", "s3://bucket/cache", code=code)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line == ('error: paths.cache: s3:// needs a package that is not installed; pip install "featx[s3]"')


@contextmanager
def silent_port(listens: bool) -> Any:
    """Yield the URL of a port on which nobody listens, or nobody answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen(100)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("listens", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_silent_endpoint_ends_the_command_with_one_line(home: Path, listens: bool) -> None:
    patience = json.dumps({"config_kwargs": {"read_timeout": 1, "connect_timeout": 1}})  # fsspec's own way to say it
    with silent_port(listens) as endpoint:
        start = time.monotonic()
        process = elsewhere(
            "cache", "ls", "--cache", "s3://bucket/c", **CREDENTIALS, AWS_ENDPOINT_URL=endpoint, FSSPEC_S3=patience
        )
        took = time.monotonic() - start
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: s3://bucket/c cannot be listed: ")
    assert endpoint in line
    assert took < SECONDS
