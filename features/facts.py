"""Facts as they were known: which revision of an event counted on which nights (rules T2, T3).

The one home of "as known at": the builder reads facts through ``versions``, labels through ``as_known``.
"""

from collections.abc import Callable, Mapping
from datetime import date

import duckdb
import ibis
from ibis import _
from ibis.expr.types import BooleanValue, IntegerValue, StringValue, Value

from features.spec import TICKET, Entity
from infra.clock import Nights, day_number
from infra.company import Company
from infra.engine import duckdb_micros
from infra.lake import Lake
from infra.workspace import Workspace

DAY_MICROS = 86_400_000_000
# Stands for "still known": later than any night.
FOREVER = 10_000_000
KNOWN_DAY = "known_day"
TICKET_COLUMNS: Mapping[str, str] = {"ticket_events": "ticket_id", "interactions": "thread_id"}


def day_of(micros_: IntegerValue) -> IntegerValue:
    """Return the UTC day number of microseconds since the epoch."""
    return (micros_ // DAY_MICROS).cast("int64")


def tile_of(micros_: IntegerValue) -> IntegerValue:
    """Return the day tile: half-open at its start like every window, so midnight belongs to the day before."""
    return day_of(micros_ - 1)


def resolve(company: Company, id_space: StringValue, local: StringValue) -> StringValue:
    """Return the company-wide id of an id in the words of its source; none for an unknown one."""
    prefix = (
        ibis.cases(
            *((id_space == space, ibis.literal(text)) for space, text in company.identity.items()), else_=id_space + ":"
        )
        if company.identity
        else id_space + ":"
    )
    return prefix + local


def key_column(entity: Entity, fact: str) -> str:
    """Return the column of a fact that names the entity in the words of the source."""
    return TICKET_COLUMNS[fact] if entity == TICKET else "source_id"


def versions(silver: ibis.Table, micros: Callable[[Value], IntegerValue]) -> ibis.Table:
    """Return the revisions that ever counted, each with the nights on which it did.

    Parameters
    ----------
    silver
        Silver rows of one fact, every revision up to the night that asks.
    micros
        The engine's way to say a time in microseconds.

    Returns
    -------
    ibis.Table
        The rows, without retractions and without revisions that never counted at a cutoff, with ``event_us``
        (int64 microseconds) and the nights ``known_from <= night < known_until`` (day numbers).
    """
    arrival = [_.ingested_us, _.file, _.position]
    timed = silver.mutate(
        event_us=micros(silver.event_time),
        ingested_us=micros(silver.ingested_at),
        order=ibis.coalesce(silver.revision, 0),
    )
    newest = timed.mutate(highest=_.order.max().over(group_by=_.event_id, order_by=arrival, rows=(None, 0)))
    # A row wins on arrival unless a higher revision came before it; the next winner ends its time.
    winners = newest.filter(_.order == _.highest).mutate(known_from=day_of(_.ingested_us))
    ended = winners.mutate(
        known_until=ibis.coalesce(_.known_from.lead().over(group_by=_.event_id, order_by=arrival), FOREVER)
    )
    return ended.filter(~_.retracted, _.known_from < _.known_until).drop("order", "highest", "ingested_us")


def as_known(ws: Workspace, connection: duckdb.DuckDBPyConnection, fact: str, night: date) -> str:
    """Make a fact, as known at a night's cutoff, a view of a DuckDB connection.

    Returns
    -------
    str
        Name of the view: the columns of silver, with ``customer_id`` and, where the fact has one, ``ticket_id``
        in the company's own words. One row per event that stood at the cutoff.

    Raises
    ------
    Rejected
        The fact was never written.
    """
    name = silver_view(ws.lake, connection, fact, night)
    backend = ibis.duckdb.from_connection(connection)
    known = versions(backend.table(name), duckdb_micros).filter(_.known_until == FOREVER)
    ids = {"customer_id": resolve(ws.company, known.id_space, known.source_id)}
    if fact in TICKET_COLUMNS:
        ids["ticket_id"] = resolve(ws.company, known.id_space, known[TICKET_COLUMNS[fact]])
    sql = ibis.to_sql(known.mutate(**ids).drop("event_us", "known_from", "known_until"), dialect="duckdb")
    connection.execute(f'CREATE OR REPLACE TEMP TABLE "known_{fact}" AS {sql}')
    return f"known_{fact}"


def silver_view(lake: Lake, connection: duckdb.DuckDBPyConnection, fact: str, night: date) -> str:
    """Make the silver rows of a fact up to a night a view of a DuckDB connection; return its name."""
    return lake.view(connection, f"silver/{fact}", Nights(date.min, night), partition=KNOWN_DAY)


def within(column: IntegerValue, nights: Nights) -> BooleanValue:
    """Return whether a day number lies in some nights."""
    return column.between(day_number(nights.first), day_number(nights.last))
