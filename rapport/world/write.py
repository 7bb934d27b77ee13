"""Puts the world on disk: one file a night per source, each whole or not there, and the manifest last."""

import csv
import io
import os
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rapport.world.faults import EXPORTED, RAW_TIME, Feed, night_of
from rapport.world.settings import WorldSettings


def write_feed(folder: Path, feed: Feed, delivered: pd.DataFrame, settings: WorldSettings) -> None:
    """Write a source's files, one for each night, the empty ones too."""
    (folder / feed.path).parent.mkdir(parents=True, exist_ok=True)
    ends = np.searchsorted(night_of(delivered[EXPORTED], settings), np.arange(settings.days), side="right")
    encode = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[Path(feed.path).suffix]
    table = _timestamps(delivered, feed) if feed.path.endswith(".parquet") else _texts(delivered, feed)
    for day, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        night = settings.start + timedelta(days=day)
        replace(folder / feed.path.format(night=night), encode(table, int(begin), int(end)))


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def write_truth(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """Write a table that only tests read."""
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    replace(folder / "truth" / f"{name}.parquet", _bytes(pa.Table.from_pandas(frame, preserve_index=False)))


def clear(folder: Path) -> None:
    """Remove the files of another world, its manifest first, so that a half-removed world counts as none."""
    (folder / "manifest.json").unlink(missing_ok=True)
    for name in ("crm", "helpdesk", "chat", "shop", "web", "decisions", "surveys", "truth"):
        shutil.rmtree(folder / name, ignore_errors=True)


Lists = dict[str, list[object]]


def _texts(delivered: pd.DataFrame, feed: Feed) -> Lists:
    """Return the columns as lists, times as ISO text with Z."""
    frame = delivered.drop(columns=RAW_TIME)
    for column in (feed.time, EXPORTED):
        moments = frame[column].to_numpy(np.int64).astype("datetime64[us]")
        frame[column] = np.datetime_as_string(moments, unit="ms", timezone="UTC").astype(object)
    frame[feed.time] = delivered[RAW_TIME].where(delivered[RAW_TIME].notna(), frame[feed.time])
    return {str(name): frame[name].tolist() for name in frame}


def _timestamps(delivered: pd.DataFrame, feed: Feed) -> pa.Table:
    table = pa.Table.from_pandas(delivered.drop(columns=RAW_TIME), preserve_index=False).replace_schema_metadata(None)
    for column in (feed.time, EXPORTED):
        at = table.schema.get_field_index(column)
        table = table.set_column(at, column, table[column].cast(pa.int64()).cast(pa.timestamp("us", tz="UTC")))
    return table


def _csv(table: Lists, begin: int, end: int) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(column[begin:end] for column in table.values()), strict=True))
    return text.getvalue().encode()


def _jsonl(table: Lists, begin: int, end: int) -> bytes:
    rows = zip(*(column[begin:end] for column in table.values()), strict=True)
    return b"".join(orjson.dumps(dict(zip(table, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _parquet(table: pa.Table, begin: int, end: int) -> bytes:
    return _bytes(table.slice(begin, end - begin))


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
