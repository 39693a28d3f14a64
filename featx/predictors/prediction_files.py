"""Files of predictions that are written batch by batch: CSV, JSON lines or Parquet, by the suffix."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import DataError
from featx.files.spreadsheets import text_cells
from featx.storage.leases import atomic_output
from featx.text.escaping import escape_json
from featx.text.masking import mask_secrets_in_value

# Takes the records of one batch (`featx.predictors.prediction.Prediction.rows`).
WriteRows = Callable[[Sequence[Mapping[str, Any]]], None]


@contextmanager
def open_prediction_file(file: Path) -> Iterator[WriteRows]:
    """Lend a function that writes records to a file, which appears when the block ends; secrets in URLs are masked.

    Parameters
    ----------
    file
        Path with the suffix ``.csv``, ``.jsonl`` or ``.parquet``. All records have the columns of the first ones.

    Raises
    ------
    DataError
        the file has another suffix.
    OSError
        it cannot be written.
    """
    writers = {".csv": _csv_writer, ".jsonl": _jsonl_writer, ".parquet": _parquet_writer}
    if file.suffix.lower() not in writers:
        raise DataError(f"output {str(file)!r} has suffix {file.suffix!r}, expected .csv, .jsonl or .parquet")
    with atomic_output(file) as private, writers[file.suffix.lower()](private) as write:
        yield lambda rows: write([mask_secrets_in_value(row) for row in rows])


@contextmanager
def _csv_writer(file: Path) -> Iterator[WriteRows]:
    with file.open("w", encoding="utf-8", newline="") as stream:

        def write(rows: Sequence[Mapping[str, Any]]) -> None:
            if rows:
                text_cells(pd.DataFrame(rows)).to_csv(stream, index=False, header=not stream.tell())

        yield write


@contextmanager
def _jsonl_writer(file: Path) -> Iterator[WriteRows]:
    with file.open("w", encoding="utf-8") as stream:

        def write(rows: Sequence[Mapping[str, Any]]) -> None:
            for row in rows:
                # JSON has neither nan nor infinity: an unknown number and a missing bound are null.
                record = {
                    key: None if isinstance(value, float) and not math.isfinite(value) else value
                    for key, value in row.items()
                }
                stream.write(escape_json(json.dumps(record, ensure_ascii=False, allow_nan=False)) + "\n")

        yield write


@contextmanager
def _parquet_writer(file: Path) -> Iterator[WriteRows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        nonlocal writer
        if rows:
            schema = writer.schema if writer else None
            table = pa.Table.from_pandas(pd.DataFrame(rows), schema=schema, preserve_index=False)
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)

    try:
        yield write
    finally:
        if writer:
            writer.close()
    if not writer:
        pq.write_table(pa.table({}), file)
