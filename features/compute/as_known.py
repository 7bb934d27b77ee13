"""Facts as they were known: which revision of an event counted, from when until when (rules T2, T3).

The one home of "as known at": the builder and the live compiler read facts through ``versions``, labels through
``as_known``.
"""

from collections.abc import Callable
from datetime import date

import duckdb
import ibis
from ibis import _
from ibis.expr.types import BooleanValue, IntegerValue, Table, Value

from features.compute.identity import LINKS, prefixed, resolve, subject
from features.compute.windowing import DAY_MICROS
from features.declare.entity import CUSTOMER, TICKET, Entity
from infra.clock import Nights
from infra.company.company import Company
from infra.engine.duckdb_engine import duckdb_micros
from infra.engine.engine import Cut, uncut
from infra.lake.lake import Lake
from infra.workspace import Workspace
from rapport_feast.times import day_number

# Stands for "still known": later than any night, in microseconds.
FOREVER = 10_000_000 * DAY_MICROS
KNOWN_DAY = "known_day"


# What every reader of silver needs, beside the columns of the group.
SILVER_COLUMNS = (
    "event_id",
    "id_space",
    "event_time",
    "ingested_at",
    "revision",
    "retracted",
    "revises",
    "file",
    "position",
    KNOWN_DAY,
)


def day_of(micros_: IntegerValue) -> IntegerValue:
    """Return the UTC day number of microseconds since the epoch."""
    return (micros_ // DAY_MICROS).cast("int64")


def versions(silver: Table, micros: Callable[[Value], IntegerValue]) -> Table:
    """Return the revisions that ever counted, each with the time in which it did.

    Parameters
    ----------
    silver
        Silver rows of one fact: every revision of its events up to the moment that asks.
    micros
        The engine's expression for a time in microseconds.

    Returns
    -------
    ibis.Table
        The rows, without retractions and without revisions that never counted, with ``event_us`` and
        ``known_from`` <= T < ``known_until`` (int64 microseconds).
    """
    timed = silver.mutate(
        event_us=micros(silver.event_time),
        known_from=micros(silver.ingested_at),
        order=ibis.coalesce(silver.revision, 0),
    )
    revised = timed.filter(timed.revises).select("event_id").distinct()
    unrevised = timed.anti_join(revised, "event_id").mutate(known_until=ibis.literal(FOREVER, "int64"))
    arrival = [_.known_from, _.file, _.position]
    newest = timed.semi_join(revised, "event_id").mutate(
        highest=_.order.max().over(group_by=_.event_id, order_by=arrival, rows=(None, 0))
    )
    # A row wins on arrival unless a higher revision came before it; the next winner ends its time.
    winners = newest.filter(_.order == _.highest).drop("highest")
    ended = winners.mutate(
        known_until=ibis.coalesce(_.known_from.lead().over(group_by=_.event_id, order_by=arrival), FOREVER)
    )
    counted = unrevised.union(ended.select(unrevised.columns))
    return counted.filter(~_.retracted, _.known_from < _.known_until).drop("order")


def entities(company: Company, entity: Entity, fact: str, known: Table, links: Table | None, cut: Cut = uncut) -> Table:
    """Return facts with the entity that each is about, as known then; those without one are left out.

    Parameters
    ----------
    known
        Rows of ``versions``.
    links
        Identity links, also from ``versions``; none where the company has no source of them.
    """
    key = known[entity.column_in(fact)]
    if links is None or not entity.linked:
        found = known.mutate(entity=prefixed(company, known.id_space, key))
    else:
        found = resolve(company, known, links, cut)
    return found.filter(_.entity.notnull())


def as_known(ws: Workspace, connection: duckdb.DuckDBPyConnection, fact: str, night: date) -> str:
    """Make a fact, as known at a night's cutoff, a table of a DuckDB connection.

    Returns
    -------
    str
        Name of the table: the columns of silver, with ``customer_id`` and, where the fact has one, ``ticket_id``
        in the company's own words. One row per event that stood at the cutoff.

    Raises
    ------
    Rejected
        The fact was never written.
    """
    rows = history(ws, connection, fact, night)
    standing = rows.filter(_.known_until == FOREVER).drop("event_us", "known_from", "known_until")
    sql = ibis.to_sql(standing, dialect="duckdb")
    connection.execute(f'CREATE OR REPLACE TEMP TABLE "known_{fact}" AS {sql}')
    return f"known_{fact}"


def history(ws: Workspace, connection: duckdb.DuckDBPyConnection, fact: str, night: date) -> Table:
    """Return every revision of a fact up to a night that ever counted, with the ids that it had then.

    Returns
    -------
    ibis.Table
        Rows of ``versions`` with ``customer_id`` and, where the fact has one, ``ticket_id``; a fact whose customer
        came to be another one stands twice, with the time of each.
    """
    backend = ibis.duckdb.from_connection(connection)
    known = versions(backend.table(silver_view(ws.lake, connection, fact, night)), duckdb_micros)
    links = None
    if ws.lake.exists(f"silver/{LINKS}"):
        links = versions(backend.table(silver_view(ws.lake, connection, LINKS, night)), duckdb_micros)
    resolved = (
        known.mutate(entity=prefixed(ws.company, known.id_space, known.source_id))
        if links is None
        else resolve(ws.company, known, links)
    )
    ids = {CUSTOMER.key: resolved.entity}
    if fact in TICKET.columns:
        ids[TICKET.key] = prefixed(ws.company, resolved.id_space, resolved[TICKET.columns[fact]])
    new_ids = {name: value for name, value in ids.items() if name not in known.columns or name == CUSTOMER.key}
    return resolved.mutate(**(ids if TICKET.key in known.columns else new_ids)).drop("entity")


def merged_ids(ws: Workspace, connection: duckdb.DuckDBPyConnection, night: date) -> str:
    """Make a table of the company-wide ids that identity links, as known at a night, say are another customer.

    Returns
    -------
    str
        Name of the table, with the one column ``customer_id``.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE merged_ids (customer_id VARCHAR)")
    if ws.lake.exists(f"silver/{LINKS}"):
        backend = ibis.duckdb.from_connection(connection)
        links = versions(backend.table(silver_view(ws.lake, connection, LINKS, night)), duckdb_micros)
        standing = links.filter(_.known_until == FOREVER, _.kind == "linked")
        named = standing.select(customer_id=subject(ws.company, standing), other=standing.customer)
        gone = named.filter(_.customer_id != _.other).select("customer_id").distinct()
        connection.execute(f"INSERT INTO merged_ids {ibis.to_sql(gone, dialect='duckdb')}")
    return "merged_ids"


def silver_view(lake: Lake, connection: duckdb.DuckDBPyConnection, fact: str, night: date) -> str:
    """Make the silver rows of a fact up to a night a view of a DuckDB connection; return its name."""
    return lake.view(connection, f"silver/{fact}", Nights(date.min, night), partition=KNOWN_DAY)


def within(column: IntegerValue, nights: Nights) -> BooleanValue:
    """Return whether a day number lies in some nights."""
    return column.between(day_number(nights.first), day_number(nights.last))
