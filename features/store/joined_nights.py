"""Which night's row of a view each row of a spine is given: the newest that was published by its moment (rule V1).

The offline store joins the rows themselves; this says only which they are. A training set keeps it in its commit, and
lineage asks it again for single rows.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime

import pyarrow as pa

from features.compute.tables import FEATURES
from features.store.published import path_of
from infra.clock import Nights, cutoff
from infra.workspace import Workspace
from rapport_feast.publications import PUBLISH_LAG, publication_times
from rapport_feast.times import EPOCH_DAY

NIGHT, POSITION = "night", "position"
LIVE = "__live"


def joined_nights(ws: Workspace, view: str, key: str, spine: pa.Table, night: date) -> pa.Array:
    """Return for each row of a spine the night of the row that it is given; null where there is none.

    Parameters
    ----------
    key
        The entity's key, a column of the spine and of the view's table.
    spine
        With ``event_time``.
    night
        No night after this one is seen.
    """
    table = f"{FEATURES}{view}"
    known = _known(ws, view, ws.lake.oldest(table) or night, night)
    asked = pa.table({POSITION: range(len(spine)), "entity": spine[key].cast(pa.string()), "at": spine["event_time"]})
    with ws.lake.connect() as connection:
        rows = ws.lake.view(connection, table, Nights(EPOCH_DAY, night))
        connection.register("asked", asked)
        connection.register("known", known)
        found = connection.sql(
            f"""SELECT max(f.{NIGHT}) AS {NIGHT} FROM asked
                LEFT JOIN (SELECT * FROM "{rows}" JOIN known USING ({NIGHT})) f
                    ON f.{key} = asked.entity AND f.served <= asked.at
                GROUP BY {POSITION} ORDER BY {POSITION}"""
        ).to_arrow_table()
    return found[NIGHT].combine_chunks()


def joined_nights_by_view(
    ws: Workspace, refs: Iterable[str], key: str, spine: pa.Table, night: date
) -> dict[str, dict[str, int]]:
    """Return per view of some references, night = how many rows of a spine are given its values.

    Live views are left out: their values come from the facts, and no night's row is taken.
    """
    views = dict.fromkeys(ref.partition(":")[0] for ref in refs)
    return {view: counted(joined_nights(ws, view, key, spine, night)) for view in views if not view.endswith(LIVE)}


def counted(nights: pa.Array) -> dict[str, int]:
    """Return night = how many rows were given its values."""
    counts = nights.drop_null().value_counts()
    return {str(one["values"]): one["counts"] for one in sorted(counts.to_pylist(), key=lambda one: one["values"])}


def _known(ws: Workspace, view: str, first: date, last: date) -> pa.Table:
    """Return since when each night is served."""
    told = publication_times(path_of(ws), view)
    nights = [*Nights(first, last)]
    served: list[datetime] = [told.get(night, cutoff(night) + PUBLISH_LAG).astimezone(UTC) for night in nights]
    stamps = pa.array(served, pa.timestamp("us", "UTC"))
    return pa.table({NIGHT: pa.array(nights, pa.date32()), "served": stamps})
