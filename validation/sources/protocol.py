"""What an adapter is: a small file that reads one kind of record as text and says where the columns of a fact are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from infra.company.source import Source
from rapport_feast.errors import Rejected
from rapport_feast.sql import literal, quoted

BROKEN, FAULT = "_broken", "_fault"
"""Columns of a row that is no record: what stood there, and what is wrong with it where the adapter can say."""


class Adapter(Protocol):
    """How one kind of file becomes raw columns of text, and raw columns become the columns of a fact."""

    @property
    def publisher(self) -> str:
        """Who publishes the data set; empty for a user's own files."""
        ...

    def read(self, path: Path) -> pa.Table:
        """Return the rows of one file in file order, every value as text as it came; raises ``Rejected``."""
        ...

    def derive(self, rows: pa.Table) -> pa.Table:
        """Return the rows with what only their neighbours tell; columns of our own start with an underscore."""
        ...

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return column of the fact = SQL over the raw columns, giving text; raises ``Rejected``."""
        ...

    def available(self, source: Source) -> str:
        """Return SQL over the raw columns: the text of the time at which the record became available."""
        ...

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns without which a file is not what the company file says it is."""
        ...


def mapped_columns(source: Source, columns: Mapping[str, str]) -> dict[str, str]:
    """Return an adapter's columns with those, the constants and the words that the company file states on top."""
    found = dict(columns)
    found |= {column: quoted(raw) for column, raw in source.columns.items()}
    found |= {column: literal(text) for column, text in source.constants.items()}
    for column, words in source.values.items():
        if column not in found:
            raise Rejected(
                f"source {source.name}, values", f"a column that the source maps: {', '.join(sorted(found))}", column
            )
        cases = " ".join(f"WHEN {literal(word)} THEN {literal(ours)}" for word, ours in words.items())
        found[column] = f"CASE {found[column]} {cases} ELSE {found[column]} END" if cases else found[column]
    return found


def refuse_hindsight(source: Source, refused: Mapping[str, str]) -> None:
    """Refuse a company file that maps a column which was not known at the row's time.

    Raises
    ------
    Rejected
        A column or the availability is one of ``refused``, which says why for each.
    """
    for raw in (*source.columns.values(), source.available):
        if raw and raw in refused:
            raise Rejected(
                f"source {source.name}, columns", "columns that were known at their time", f"{raw!r}: {refused[raw]}"
            )


def missing_columns(path: Path, missing: Sequence[str], there: Sequence[str]) -> Rejected:
    """Return the error that says which columns of a file are not there."""
    names = ", ".join(name for name in there if not name.startswith("_")) or "none"
    return Rejected(f"file {path.name}", f"the column {', '.join(map(repr, missing))}", f"the columns {names}")
