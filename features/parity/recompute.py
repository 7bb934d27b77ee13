"""What should have been served: live values from silver as known at some moment, nightly ones as they were published.

Between the samples and the parity meter, which compares both.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa

from features.compute import historical
from features.compute.bands import POSITION
from features.compute.tables import features_table
from features.compute.windowing import DAY_MICROS
from features.declare.group import Group
from features.parity.samples import Sample
from features.store.published import path_of
from infra.engine.engine import Engine
from infra.workspace import Workspace
from rapport_feast.publications import read_record
from rapport_feast.times import EPOCH_DAY

STAMP = pa.timestamp("us", "UTC")
# A night goes online some time after the moment at which its publication is dated; until then the older one is true.
PUBLISHING = timedelta(minutes=15)
Values = dict[str, Any]


class ValueQuery(NamedTuple):
    """An entity, the end of the windows, and until when a fact had to be known; microseconds."""

    entity: str
    at_us: int
    known_us: int


class PublishedRows(NamedTuple):
    """What was published for a nightly sample: its row, and the newest that ought to have been there by then."""

    row: Values | None
    newest: Values | None


def recompute(
    ws: Workspace, engine: Engine, group: Group, queries: Sequence[ValueQuery], links: historical.Links = "then"
) -> list[Values]:
    """Return the values of a group for some entities and moments, from silver, in one query."""
    spine = pa.table(
        {
            group.entity.key: pa.array([one.entity for one in queries], pa.string()),
            historical.TIME: pa.array([one.at_us for one in queries], pa.int64()).cast(STAMP),
            historical.KNOWN: pa.array([one.known_us for one in queries], pa.int64()).cast(STAMP),
            POSITION: pa.array(range(len(queries)), pa.int64()),
        }
    )
    rows: list[Values] = historical.compute(ws, engine, group, spine, links=links).drop([POSITION]).to_pylist()
    return rows


def superseded(ws: Workspace, group: Group, samples: Sequence[Sample]) -> list[bool]:
    """Return of which nightly samples the night was published again with other rows after they were served."""
    times = {day: _micros(night.published_at) for day, night in read_record(path_of(ws)).of(group.view).items()}
    return [times.get(_night(sample.event_us), 0) > sample.served_us for sample in samples]


def as_published(ws: Workspace, group: Group, samples: Sequence[Sample]) -> list[PublishedRows]:
    """Return for each nightly sample what was published by then.

    Returns
    -------
    list of PublishedRows
        The row of the sample's night, none where that night has none of this entity; and the newest row of the nights
        that were surely online when it was served.
    """
    published = read_record(path_of(ws)).of(group.view)
    table = features_table(group)
    if not samples or not published or not ws.lake.exists(table):
        return [PublishedRows(None, None)] * len(samples)
    nights = pa.table(
        {
            "published": pa.array(list(published), pa.date32()),
            "since": pa.array([_micros(night.published_at) for night in published.values()], pa.int64()),
        }
    )
    queries = pa.table(
        {
            "place": pa.array(range(len(samples)), pa.int64()),
            "id": [sample.id for sample in samples],
            "own": pa.array([_night(sample.event_us) for sample in samples], pa.date32()),
            "online": pa.array([sample.served_us - _length(PUBLISHING) for sample in samples], pa.int64()),
        }
    )
    names = ", ".join(f'f."{feature.name}"' for feature in group.outputs)
    with ws.lake.connect() as connection:
        connection.register("asked", queries)
        connection.register("nights", nights)
        view = ws.lake.view(connection, table)
        found = connection.sql(
            f"""SELECT place, f.night AS night, own, {names} FROM asked
            JOIN "{view}" AS f ON f."{group.entity.key}" = asked.id JOIN nights ON published = f.night
            WHERE f.night = own OR (since <= online AND f.night > own)
            QUALIFY f.night = own OR row_number() OVER (PARTITION BY place ORDER BY f.night DESC) = 1"""
        ).to_arrow_table()
    own: dict[int, Values] = {}
    newest: dict[int, Values] = {}
    for row in found.to_pylist():
        place, night, mine = row.pop("place"), row.pop("night"), row.pop("own")
        (own if night == mine else newest)[place] = row
    return [PublishedRows(own.get(place), newest.get(place, own.get(place))) for place in range(len(samples))]


def _micros(moment: str | None) -> int:
    """Return a time of the record in microseconds; history without one was there from the beginning."""
    return 0 if moment is None else _length(datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC))


def _length(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _night(micros: int) -> date:
    return EPOCH_DAY + timedelta(days=micros // DAY_MICROS)
