"""Promises in docs/trust.md name tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_promise_names_tests_that_exist() -> None:
    rows = [line for line in (ROOT / "docs/trust.md").read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith("| promise")]
    assert len(promises) > 20
    for row in promises:
        names = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert names, row
        for file, test in names:
            assert f"def {test}" in (ROOT / file).read_text(), (file, test)
