"""Secrets in URLs, and names of users, are neither shown nor stored."""

import getpass
import http.server
import json
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from featx.cli.table_layout import TableCells
from featx.errors import DataError, MissingExtraError, ReadError, RecipeError, UnknownNameError
from featx.files.spreadsheets import text_cell
from featx.images.digests import DigestCache
from featx.storage.places import cache_at
from featx.study.study import Study
from featx.text.masking import mask_cell, mask_secrets, mask_secrets_in_value, remove_secrets, restore_secrets
from featx.text.sanitising import sanitise_value
from tests.conftest import TOY_RECIPE, make_images

SECRET = "pa55word"
URLS = [
    f"https://me:{SECRET}@host:1/a/b.png",
    f"s3://KEY:{SECRET}@bucket/a",
    f"https://{SECRET}@host/a",
    f"https://a@b:{SECRET}@host/a",
    f"https://host/a.png?X-Amz-Signature={SECRET}&b=1",
    f"https://me:{SECRET}@host/a?token={SECRET}",
    f"simplecache::HTTPS://me:{SECRET}@host/a",
    f"https://host/it's.png?sig={SECRET}",
    f"s3://bucket/o'brien/x.png?X-Amz-Signature={SECRET}",
    f'https://host/a"b.png?sig={SECRET}',
    f"https://host/my photos/a.png?sig={SECRET}",
    f"https://host/a.png?sig=ab'{SECRET}",
    f"https://host/a.png?sig=ab\"'{SECRET}",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", [DataError, ReadError, UnknownNameError, MissingExtraError])
def test_errors_show_no_secret_of_a_url(url: str, kind: type[Exception]) -> None:
    assert SECRET not in str(kind(f"data.source: {url!r} cannot be listed, {url}; see {url}"))
    assert SECRET not in str(RecipeError(url, [f"{url} is odd"]))
    assert url.startswith("simplecache") or SECRET not in str(cache_at(url))
    assert "host" in mask_secrets(url) or "bucket" in mask_secrets(url)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b/c.png",
        "/data/a?b@c.png",
        "me@host",
        "tls://10.0.0.1:8786",
        "a: b",
        "no 'https://host/a', did you mean 'https://host/b'? known: 'c'",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert mask_secrets(text) == text


@pytest.mark.parametrize("source", URLS)
def test_a_stored_url_is_restored_from_its_source(source: str) -> None:
    uri = source.replace("?", "/deep/?") if "?" in source else f"{source}/deep/c.png"
    assert SECRET not in remove_secrets(uri, source)
    assert restore_secrets(remove_secrets(uri, source), source) == uri
    assert remove_secrets("s3://bucket/a?b@c.png", "s3://bucket") == "s3://bucket/a?b@c.png"


@pytest.mark.parametrize("query", [f"?sig=two {SECRET}", f"?sig=a', {SECRET}", f"?{SECRET} x", f"?sig=\n{SECRET}"])
def test_values_that_are_urls_are_masked_to_their_end(query: str, tmp_path: Path) -> None:
    url = f"https://host/my photos/a.png{query}"
    assert mask_cell(url) == "https://host/my photos/a.png?***"
    assert mask_secrets_in_value({"image": [url]}) == {"image": ["https://host/my photos/a.png?***"]}
    assert sanitise_value(url) == text_cell(url) == "https://host/my photos/a.png?***"
    assert SECRET not in mask_secrets(f"{url!r} cannot be read")
    assert remove_secrets(url, f"https://host/{query}") == "https://host/my photos/a.png?***"
    assert TableCells.of(["image"], [[url]]).rows == [["https://host/my photos/a.png?***"]]


def test_a_message_goes_on_after_a_masked_url() -> None:
    error = DataError(f"https://host/it's.png?sig={SECRET} cannot be read; it isn't there")
    assert str(error) == "https://host/it's.png?*** cannot be read; it isn't there"
    assert mask_secrets_in_value(str(error)) == str(error)


class _Guarded(http.server.SimpleHTTPRequestHandler):
    """A handler that serves files to clients with the password."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == f"Basic {b64encode(f'me:{SECRET}'.encode()).decode()}":
            super().do_GET()
        else:
            self.send_error(401)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Serve images with a password; return the URL."""
    make_images(tmp_path / "served", n_each=24)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:{SECRET}@127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def run_command(*words: str) -> str:
    """Run a command that ends without an error, and return its output."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    return result.output


def test_a_study_of_a_url_with_a_password_stores_and_shows_none(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    Path("featx.toml").write_text(TOY_RECIPE.replace('"images"', f'"{url}"'))
    result = featx.extract()
    assert result.n_embedded == 48
    assert all(SECRET in uri for uri in Study.open(None).manifest.uris)
    featx.fit(heads="logreg", trials=1)
    featx.evaluate(final=True)
    featx.report()
    images = [f"{url}dark/000.png", f"{url}light/001.png?token={SECRET}"]
    outputs = [run_command("explore"), run_command("predict", *images, "--html", "page.html")]
    monkeypatch.setenv("COLUMNS", "80")
    outputs.append(run_command("predict", *images))
    assert "001.png?***" in outputs[-1]
    assert SECRET not in "".join(outputs)
    for file in ("predictions.csv", "predictions.jsonl", "predictions.parquet"):
        run_command("predict", *images, "--output", file)
    assert pd.read_parquet("predictions.parquet")["image"].str.startswith("http://***@127").all()
    assert {"explore.html", "page.html"} <= {path.name for path in home.rglob("*.html")}
    for path in [path for path in home.rglob("*") if path.is_file() and path.name != "featx.toml"]:
        assert SECRET.encode() not in path.read_bytes(), path
    assert pd.read_parquet("runs/featx/manifest.parquet")["uri"].str.startswith("http://***@127").all()
    command_result = CliRunner().invoke(app, ["show", "featx.toml", "--json"])
    assert SECRET not in command_result.output
    assert json.loads(command_result.output)["data"]["source"].startswith("http://***@127")


def test_the_cache_of_digests_stores_no_password(tmp_path: Path) -> None:
    url, state = f"https://user:{SECRET}@host/a.png", (3, 5)
    with DigestCache(tmp_path / "digests.sqlite") as cache:
        cache.remember([(url, state, "00ff")])
        assert list(cache.known([url], [state])) == ["00ff"]
    with closing(sqlite3.connect(tmp_path / "digests.sqlite")) as connection:
        ((uri,),) = connection.execute("SELECT uri FROM file_digests").fetchall()
    assert uri == "https://***@host/a.png"


def test_an_opening_is_logged_with_a_hash_or_the_given_name(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads="logreg", trials=1)
    featx.evaluate(final=True)
    featx.evaluate(final=True)
    featx.evaluate(final=True, user="Ada")
    first, second, third = Study.open(None).openings()
    assert first["user"] == second["user"]
    assert first["user"].startswith("user ")
    assert third["user"] == "Ada"
    page = Path(featx.report().report).read_text()
    assert f"by {getpass.getuser()}" not in page
    assert "by Ada" in page
