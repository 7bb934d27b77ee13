"""Silver of any size for the benches: orders of customers over half a year, some late, some revised."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa

from features.declare.entity import CUSTOMER
from features.declare.group import Group
from features.declare.measure import Measure
from features.declare.terms import col
from infra.clock import FixedClock, Nights
from infra.company.company import Company
from infra.company.source import Source
from infra.lake.commit import Commit
from infra.settings import Settings
from infra.workspace import Workspace

FIRST = date(2026, 1, 1)
DAYS = 200
FACT = "transactions"
LATE, REVISED = 0.05, 0.005
CHUNK_ROWS = 5_000_000
WINDOWS = ("1h", "24h", "7d", "30d", "90d", "180d")
AMOUNT, ORDER = col("amount_minor"), col("kind") == "order"
# Five aggregates over six windows.
GROUP = Group(
    name="load",
    description="Thirty aggregates for the benches.",
    owner="load",
    purpose="service",
    entity=CUSTOMER,
    fact=FACT,
    measures=(
        Measure("rows", "count", WINDOWS),
        Measure("spend", "sum", WINDOWS, AMOUNT, ORDER),
        Measure("mean", "mean", WINDOWS, AMOUNT),
        Measure("least", "min", WINDOWS, AMOUNT),
        Measure("most", "max", WINDOWS, AMOUNT),
    ),
    served="live",
)


@dataclass(frozen=True)
class Events:
    """A made-up history.

    Attributes
    ----------
    rows
        Rows of silver, revisions among them.
    keys
        How many customers.
    hot
        Share of the rows that one of them has.
    """

    rows: int
    keys: int
    hot: float = 0.0


def workspace(home: Path) -> Workspace:
    """Return a company with one source of transactions, and a clock after its last night."""
    source = Source(name="shop", adapter="csv", fact=FACT, path="none", id_space="crm")
    company = Company(name="load", title="for the benches", sources=(source,), identity={"crm": ""})
    return Workspace(Settings(home=home), company, FixedClock(datetime(2026, 12, 1, tzinfo=UTC)))


def write(ws: Workspace, events: Events, days: int = DAYS, first: date = FIRST) -> Nights:
    """Write silver, known day by known day in a few commits; return its nights.

    Every row is spread evenly over the days; 5 % become known one hour to three days after they happened, and one in
    two hundred revises the row before it.
    """
    chunks = max(1, -(-events.rows // CHUNK_ROWS))
    borders = [first + timedelta(days=days * part // chunks) for part in range(chunks + 1)]
    done = 0
    for start, end in pairwise(borders):
        rows = events.rows * ((end - first).days) // days - done
        nights = Nights(start, end - timedelta(days=1))
        ws.lake.replace(f"silver/{FACT}", chunk(events, nights, rows, done), Commit(nights), partition="known_day")
        done += rows
    return Nights(first, borders[-1] - timedelta(days=1))


def chunk(events: Events, nights: Nights, rows: int, offset: int) -> pa.Table:
    """Return rows that become known on some nights; seeded by their place, so that every call gives the same."""
    start = datetime(nights.first.year, nights.first.month, nights.first.day, tzinfo=UTC)
    micros = (nights.last - nights.first + timedelta(days=1)) // timedelta(microseconds=1)
    values = {
        "rows": rows, "offset": offset, "start": start, "micros": micros, "keys": events.keys,
        "hot": events.hot, "late": LATE, "revised": REVISED,
    }  # fmt: skip
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; {CHANCE}")
        return connection.sql(ROWS, params=values).to_arrow_table()


def spine(events: Events, nights: Nights, rows: int) -> pa.Table:
    """Return questions about customers at moments of the last third of some nights; the hot one has its share."""
    values = {
        "rows": rows, "keys": events.keys, "hot": events.hot,
        "start": datetime(nights.first.year, nights.first.month, nights.first.day, tzinfo=UTC),
        "days": (nights.last - nights.first).days,
    }  # fmt: skip
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; {CHANCE}")
        return connection.sql(SPINE, params=values).to_arrow_table()


# The hash of the row's number stands in for chance: the same rows whatever the threads.
CHANCE = "CREATE MACRO chance(i, n) AS (hash(i, n) >> 11)::DOUBLE / 9007199254740992"
ROWS = """
    WITH numbered AS (
        SELECT i + $offset AS n, chance(i + $offset, 0) AS a, chance(i + $offset, 1) AS b, chance(i + $offset, 2) AS c,
            i::DOUBLE / $rows AS place
        FROM range($rows) t(i)
    ), timed AS (
        SELECT *, $start::TIMESTAMPTZ + to_microseconds((place * $micros)::BIGINT) AS known,
            CASE WHEN b < $late THEN 1 + (c * 71)::BIGINT ELSE 0 END AS hours, c < $revised AND n > 0 AS revises
        FROM numbered
    )
    SELECT 's:' || CASE WHEN revises THEN n - 1 ELSE n END AS event_id, 'shop' AS source, 'crm' AS id_space,
        'C' || CASE WHEN a < $hot THEN 0 ELSE (hash(n, 3) % $keys::UBIGINT)::BIGINT END AS source_id,
        known - to_hours(hours) AS event_time, known AS ingested_at, NULL::BIGINT AS revision, false AS retracted,
        'f' AS file, n AS position, CASE WHEN c < 0.8 THEN 'order' ELSE 'refund' END AS kind, 'o' AS order_id,
        'p' AS product, 1::BIGINT AS quantity, (c * 100000)::BIGINT AS amount_minor, 'EUR' AS currency, revises,
        known::DATE AS known_day
    FROM timed ORDER BY n"""
SPINE = """
    SELECT 'C' || CASE WHEN chance(i, 5) < $hot THEN 0 ELSE (hash(i, 6) % $keys::UBIGINT)::BIGINT END AS customer_id,
        $start::TIMESTAMPTZ + to_seconds(($days * 86400 * (2 + chance(i, 7)) / 3)::BIGINT) AS event_time,
        i AS position
    FROM range($rows) t(i)"""
