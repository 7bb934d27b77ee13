"""The engines by name, opened for a workspace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.engine.duckdb_engine import DuckDBEngine
from infra.engine.engine import Engine
from infra.engine.spark_engine import SparkEngine
from infra.settings import EngineName
from infra.workspace import Workspace

ENGINES: dict[str, Callable[[Workspace], Engine]] = {"duckdb": DuckDBEngine, "spark": SparkEngine}


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
