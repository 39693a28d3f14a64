"""What a store promises, it promises on a disk and in an object store."""

from pathlib import Path

import pytest


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder for stores, and a prefix in a bucket."""
    if request.param == "disk":
        return str(tmp_path)
    return f"s3://{request.getfixturevalue('empty_bucket')}/cache"
