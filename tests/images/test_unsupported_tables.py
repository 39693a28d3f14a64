"""Tables in formats that are not read are named with the way to a table that is read."""

import gzip
import re
from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.images.readers import read_source
from featx.specs.data import LabelsSpec, ReaderSpec
from tests.images.test_public_layouts import draw

TEXT = "file,y\n" + "".join(f"{i}.png,{('cat', 'dog')[i % 2]}\n" for i in range(24))
REASONS = {
    "labels.csv.gz": "is compressed; unpack it first",
    "labels.xls": "has an unsupported format ('.xls'); save it as .xlsx or CSV",
    "labels.ODS": "has an unsupported format ('.ods'); save it as .xlsx or CSV",
    "labels.sav": "has an unsupported format ('.sav'); save it as CSV or Parquet",
    "labels.dat": "has the suffix '.dat', which is not that of a table; if it is a text table, rename it to labels.csv",
    "labels": "has no suffix; if it is a text table, rename it to labels.csv",
}


@pytest.mark.parametrize("name", REASONS)
def test_a_table_of_another_format_is_refused_with_the_next_step(name: str, home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(24)))
    (home / name).write_bytes(gzip.compress(TEXT.encode()) if name.endswith(".gz") else TEXT.encode())
    with pytest.raises(DataError, match=re.escape(REASONS[name])):
        init(home / "d", labels=home / name, recipe=home / "r.toml")
    data = ReaderSpec(source=str(home / "d"), labels=LabelsSpec(file=f"../{name}"))
    with pytest.raises(DataError, match=f"data.labels.file: .*{re.escape(REASONS[name])}"):
        read_source(data, Path())


@pytest.mark.parametrize("name", ["labels.xls", "labels.csv.gz"])
def test_a_table_of_another_format_beside_images_is_named(name: str, home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(24)))
    (home / "d" / name).write_bytes(b"\xd0\xcf")
    (home / "d" / "volume.nii.gz").write_bytes(b"\x1f\x8b")
    recognition = init(home / "d", recipe=home / "r.toml")
    assert recognition.choice == [f"none: all images are in one folder, and {name} {REASONS[name]}"]
    assert f"; {name} {REASONS[name]}; without labels" in recognition.warnings[0]
