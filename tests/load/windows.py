"""Windows over many events: 100,000 questions, thirty aggregates, 1, 10 and 50 million events as known then.

The peer at 1 and 10 million events is one hand-written DuckDB statement over the same Parquet files: the join of
questions and facts with thirty filtered aggregates. The peer of 50 million is ours at 10 million.
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from features.compute import historical
from features.compute.windowing import hops, micros_of, windows
from infra.clock import Nights
from infra.workspace import Workspace
from tests.load import events as made
from tests.load.bench import Entry, peak, peak_memory, timed

QUESTIONS, CUSTOMERS = 100_000, 50_000
SIZES = {"1 million": 1_000_000, "10 million": 10_000_000, "50 million": 50_000_000}
NIGHTS = Nights(made.FIRST, made.FIRST + timedelta(days=made.DAYS - 1))
MEMORY_MB = 8192


def run(folder: Path) -> list[Entry]:
    """Return the figures, once both answers are equal."""
    asks = {name: prepared(folder, made.Events(rows, CUSTOMERS)) for name, rows in SIZES.items()}
    entries = []
    for name in ("1 million", "10 million"):
        ws, spine = asks[name]
        if not equal(asked(ws, spine)(), one_statement(ws, spine)()):
            raise SystemExit(f"windows: the answers over {name} events differ, so their times say nothing")
        entry = timed(
            f"windows: {name} events beside one statement", asked(ws, spine), one_statement(ws, spine), 2.0, pairs=2
        )
        entries.append(entry)
        print(entry, file=sys.stderr)
    grown = timed(
        "windows: 50 million events beside 10 million",
        asked(*asks["50 million"]),
        asked(*asks["10 million"]),
        bar=8.0,
        pairs=2,
        warm=False,
    )
    print(grown, file=sys.stderr)
    memory = peak_memory(__name__, str(home(folder, made.Events(SIZES["50 million"], CUSTOMERS))), "50000000")
    return [*entries, grown, Entry.of("windows: peak memory, 50 million events", memory, MEMORY_MB, "MB", bar=1)]


def prepared(folder: Path, events: made.Events) -> tuple[Workspace, pa.Table]:
    """Return a company with so many events, and questions about them."""
    ws = made.workspace(home(folder, events))
    print(f"writing {events.rows:,} events of {events.keys:,} customers", file=sys.stderr)
    made.write(ws, events)
    return ws, made.spine(events, NIGHTS, QUESTIONS)


def home(folder: Path, events: made.Events) -> Path:
    """Return where a made-up company lies."""
    return folder / f"{events.rows}-{events.keys}-{events.hot}"


def asked(ws: Workspace, spine: pa.Table) -> Callable[[], pa.Table]:
    """Return a call that asks the live compiler."""
    return lambda: historical.historical(ws, made.GROUP, spine)


def equal(ours: pa.Table, theirs: pa.Table) -> bool:
    """Return whether every value of two answers is the same."""
    return ours.replace_schema_metadata(None).equals(theirs.cast(ours.schema).replace_schema_metadata(None))


def one_statement(ws: Workspace, spine: pa.Table) -> Callable[[], pa.Table]:
    """Return a call that runs the statement a user would write."""
    files = ws.lake.files(f"silver/{made.FACT}", partition="known_day")
    sql = statement(f"read_parquet({files!r}, hive_partitioning = true)")

    def ask() -> pa.Table:
        with ws.lake.connect() as connection:
            connection.register("spine", spine)
            return connection.sql(sql).to_arrow_table()

    return ask


def statement(source: str) -> str:
    """Return SQL of the thirty aggregates as known one second before each question."""
    day = 86_400_000_000
    columns = []
    for measure, name, window in windows(made.GROUP):
        start = f"(t - {micros_of(window)}) // {day} * {day}" if hops(window) else f"t - {micros_of(window)}"
        ordered = " AND kind = 'order'" if measure.where is not None else ""
        inside = f"FILTER (e > {start}{ordered})"
        amount = {
            "count": f"count(e) {inside}",
            "sum": f"coalesce(sum(amount_minor) {inside}, 0)::BIGINT",
            "mean": f"(sum(amount_minor) {inside})::DOUBLE / count(amount_minor) {inside}",
            "min": f"min(amount_minor) {inside}",
            "max": f"max(amount_minor) {inside}",
        }[measure.kind]
        columns.append(f"{amount} AS customer__{name}")
    longest = micros_of(made.GROUP.longest) + day
    return f"""
        WITH asked AS (SELECT *, epoch_us(event_time) AS t FROM spine),
        facts AS (
            SELECT source_id, kind, amount_minor, epoch_us(event_time) AS e, epoch_us(ingested_at) AS known,
                coalesce(lead(epoch_us(ingested_at)) OVER (PARTITION BY event_id ORDER BY ingested_at, position),
                    9000000000000000000) AS until
            FROM {source})
        SELECT position, {", ".join(columns)}
        FROM asked LEFT JOIN facts ON customer_id = source_id AND e <= t AND e > t - {longest}
            AND known <= t - 1000000 AND t - 1000000 < until
        GROUP BY position ORDER BY position"""


if __name__ == "__main__":
    place, rows = Path(sys.argv[1]), int(sys.argv[2])
    asked(made.workspace(place), made.spine(made.Events(rows, CUSTOMERS), NIGHTS, QUESTIONS))()
    print(peak())
