"""What every engine can do; how features are computed knows no more of it."""

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any, Protocol

import ibis
import pyarrow as pa
from ibis.expr.types import IntegerColumn, Table, TimestampColumn, Value

MOMENT = pa.timestamp("us", "UTC")


class Engine(Protocol):
    """An engine: named tables in, Ibis expressions over them, Arrow out. All times are microseconds UTC."""

    name: str

    def table(self, name: str, files: list[str], schema: pa.Schema, base: str) -> Table:
        """Name the Parquet files of one Delta table, whose partition columns stand in their paths only.

        Parameters
        ----------
        name
            Name of the table in the engine; an older table of that name is replaced.
        files
            Paths of the files; none gives an empty table.
        schema
            Schema of the table, partition columns included; a file without a column gives nulls.
        base
            Folder of the table, below which the paths carry ``column=value``.
        """
        ...

    def memtable(self, name: str, rows: pa.Table) -> Table:
        """Name a small Arrow table."""
        ...

    def materialise(self, name: str, expr: Table) -> Table:
        """Compute an expression once and keep its rows under a name until the engine closes."""
        ...

    def to_arrow(self, expr: Table) -> pa.Table:
        """Compute an expression; the columns have the Arrow types of its schema."""
        ...

    def micros(self, time: Value) -> IntegerColumn:
        """Return a time as int64 microseconds since 1970."""
        ...

    def moment(self, micros: Value) -> TimestampColumn:
        """Return int64 microseconds since 1970 as a time."""
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...


def as_utc(rows: pa.Table, expr: Table) -> pa.Table:
    """Return rows in the Arrow types of their expression, every time as UTC: Ibis knows no zone of Spark's times."""
    plain = expr.schema().to_pyarrow()
    types = [MOMENT if pa.types.is_timestamp(field.type) else field.type for field in plain]
    return rows.cast(pa.schema(list(zip(plain.names, types, strict=True))))


Cut = Callable[[Table], Table]


def cutter(engine: Engine) -> Cut:
    """Return what computes a table of an engine and cuts off its plan; the tables stay until another cutter begins."""
    numbers = count()
    return lambda expr: engine.materialise(f"cut_{next(numbers)}", expr)


def uncut(expr: Table) -> Table:
    """Leave a table as it is planned."""
    return expr


@cache
def builtin_function(function: str, takes: str, gives: str) -> Callable[[Value], Any]:
    """Return an SQL function of an engine as a function over Ibis values."""

    def call(value):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        ...

    made: Callable[[Value], Any] = ibis.udf.scalar.builtin(call, name=function, signature=((takes,), gives))
    return made
