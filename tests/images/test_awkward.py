"""A folder of unusual files: each has exactly the outcome listed here, and changes no other image's vector."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from featx import extract
from featx.embeddings.extract import Extraction
from featx.images.contents import digest, unicode_name
from featx.specs.embedding import ResolvedEmbedding
from featx.study.study import Study
from tests.awkward_files import BROKEN, CASES, E_ACUTE, LATIN, expected_outcomes, write_files
from tests.conftest import TOY_RECIPE
from tests.embeddings.embedders import embed_files
from tests.rows import row_alone, stored_rows

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
PROGRESS = re.compile(r"^(read|disk space|try runtimes|embed) +━+ +\d+/\d+ +.*$")


@dataclass(frozen=True)
class Ran:
    """The corpus after its first extraction."""

    recipe: Path
    extraction: Extraction
    study: Study


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Extract the corpus once for all tests here."""
    home = tmp_path_factory.mktemp("awkward")
    write_files(home / "images")
    recipe = home / "featx.toml"
    recipe.write_text(TOY_RECIPE + PLACES)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        extraction = extract(recipe)
        yield Ran(recipe, extraction, Study.open(recipe))


def outcomes_of(study: Study) -> dict[str, tuple[str, str]]:
    """Return the outcome and the reason of each file by id."""
    table = study.outcomes
    assert table["id"].is_unique
    return {row.id: (row.outcome, row.reason) for row in table.itertuples()}


def test_each_of_many_cases_is_a_separate_file() -> None:
    assert len(CASES) > 150
    assert len(expected_outcomes()) == len(CASES)


def test_every_file_has_its_expected_outcome(ran: Ran) -> None:
    outcomes = outcomes_of(ran.study)
    expected = expected_outcomes()
    assert set(outcomes) == set(expected)
    wrong_outcomes = {
        name: outcomes[name]
        for name, (outcome, reason) in expected.items()
        if outcomes[name][0] != outcome or reason not in outcomes[name][1]
    }
    assert not wrong_outcomes
    assert all(reason for outcome, reason in outcomes.values() if outcome not in {"embedded", "cached"})
    assert not any("0x" in reason or "\n" in reason for _, reason in outcomes.values())  # no addresses: runs compare


def test_the_counts_sum_to_the_number_of_files(ran: Ran) -> None:
    counts = Counter(case.outcome for case in CASES)
    outcomes = ("embedded", "cached", "duplicate", "unreadable", "missing", "ignored")
    assert {name: getattr(ran.extraction, f"n_{name}") for name in outcomes} == {
        name: counts[name] for name in outcomes
    }
    assert ran.extraction.n_found == len(CASES)
    assert len(ran.extraction.failures) == counts["unreadable"]
    assert sum(ran.extraction.ignored.values()) == counts["ignored"]


def test_copies_with_different_labels_are_a_warning(ran: Ran) -> None:
    assert (
        "1 images with copies have different labels, first 'cat/torn.png' and 'dog/torn.png'" in ran.extraction.warnings
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, as featx ignores them where pytest does not interfere
def test_each_row_belongs_to_its_image(ran: Ran) -> None:
    rows, row_of_image = stored_rows(ran.study), row_alone(ran.study)
    assert [name for name, row in rows.items() if row_of_image(name) != row] == []
    n_turned = sum("/turned-" in name for name in rows)  # they are two pictures
    assert len(set(rows.values())) == ran.extraction.n_embedded - n_turned + 2


@pytest.mark.parametrize("name", [LATIN, "dog/new\nline.png", "dog/cmyk.jpg", "cat/1x5000.png", "cat/format.heic"])
def test_a_file_embedded_alone_has_the_stored_vector(ran: Ran, name: str) -> None:
    path = str(ran.recipe.parent / "images" / name)
    resolved = [
        ResolvedEmbedding(request=embedding.request, spec=embedding.spec, n_features=embedding.n_features)
        for embedding in ran.study.locked
    ]
    embedded = embed_files([path], resolved, "cpu")
    assert not embedded.unreadable
    (x,) = embedded.columns.values()
    stored_row = np.frombuffer(stored_rows(ran.study)[unicode_name(name)], dtype="<f4")
    np.testing.assert_allclose(x[0], stored_row, rtol=1e-4, atol=1e-5)


def test_a_broken_file_alone_has_the_reason_of_the_extraction(ran: Ran) -> None:
    names = [case.name for case in BROKEN]
    paths = [str(ran.recipe.parent / "images" / name) for name in names]
    resolved = [
        ResolvedEmbedding(request=embedding.request, spec=embedding.spec, n_features=embedding.n_features)
        for embedding in ran.study.locked
    ]
    embedded = embed_files(paths, resolved, "cpu")
    outcomes = outcomes_of(ran.study)
    assert embedded.unreadable == {path: outcomes[name][1] for path, name in zip(paths, names, strict=True)}


def test_rotated_copies_have_the_same_vector(ran: Ran) -> None:
    rows = stored_rows(ran.study)
    for pattern in ("cat/turned-", "dog/turned-"):
        turned_rows = [row for name, row in rows.items() if name.startswith(pattern)]
        assert len(turned_rows) >= 8
        assert len(set(turned_rows)) == 1


def test_names_in_two_unicode_forms_are_two_images(ran: Ran) -> None:
    first, second = (stored_rows(ran.study)[name] for name in E_ACUTE)
    assert first != second
    digests = dict(zip(ran.study.manifest.ids, ran.study.manifest.digests, strict=True))
    for name in E_ACUTE:
        assert digests[name] == digest((ran.recipe.parent / "images" / name).read_bytes())


def test_a_second_run_has_the_same_outcomes_and_writes_nothing(ran: Ran) -> None:
    outcomes_before = outcomes_of(ran.study)
    cache = ran.recipe.parent / "cache"
    segments = {path: path.stat().st_mtime_ns for path in cache.glob("*.zarr/**/*")}

    repeated_extraction = extract(ran.recipe)

    assert (repeated_extraction.n_embedded, repeated_extraction.n_cached) == (0, ran.extraction.n_embedded)
    assert (repeated_extraction.n_unreadable, repeated_extraction.n_duplicate) == (
        ran.extraction.n_unreadable,
        ran.extraction.n_duplicate,
    )
    outcomes_after = outcomes_of(Study.open(ran.recipe))
    assert outcomes_after == {
        name: ("cached" if outcome == "embedded" else outcome, reason)
        for name, (outcome, reason) in outcomes_before.items()
    }
    assert segments
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.zarr/**/*")} == segments


def test_the_command_prints_only_progress_to_stderr(tmp_path: Path) -> None:
    write_files(tmp_path / "images")
    recipe = TOY_RECIPE.replace('backbone = "toy"\nweights = "none"', 'backbone = "efficientnet_lite0"\nsize_px = 32')
    (tmp_path / "featx.toml").write_text(recipe)
    command = [sys.executable, "-c", "from featx.cli.main import main; main()", "extract"]
    n_embedded = sum(case.outcome == "embedded" for case in CASES)
    for words, counts in ((["--json"], f'"n_embedded": {n_embedded},'), ([], f"{len(CASES)} files: 0 embedded")):
        process = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, timeout=300, check=False)
        stderr = process.stderr.decode()
        assert process.returncode == 0, stderr
        assert [line for line in stderr.splitlines() if not PROGRESS.match(line)] == []
        assert counts in process.stdout.decode()
