"""Segment priors: what is usual for customers of a segment, the rung of the ladder below a customer's own values.

Made of the newest nightly rows when a night is published: the median of a number (of an even count of whole numbers
the lower middle), the most frequent text (of equals the first in order), no value where nobody has one. ``*`` stands
for everybody, and is all there is for entities other than the customer.
"""

from datetime import date

import duckdb
import pyarrow as pa

from features.compute.tables import features_table
from features.declare.entity import CUSTOMER
from features.declare.feature import Feature
from features.declare.group import Group
from infra.clock import Nights
from infra.lake.lake import NIGHT
from infra.workspace import Workspace

EVERYBODY = "*"
SEGMENT = "segment_id"
PROFILE, SEGMENT_FEATURE = "customer_profile", "customer__segment__365d"
ARROW = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def prior_view(group: Group) -> str:
    """Return the name under which the priors of a group are online."""
    return f"{group.view}__prior"


def segment_of(groups: tuple[Group, ...]) -> tuple[Group, str] | None:
    """Return the group and the feature that say a customer's segment; none if the company has no profiles."""
    for group in groups:
        if group.name == PROFILE and any(feature.name == SEGMENT_FEATURE for feature in group.outputs):
            return group, SEGMENT_FEATURE
    return None


def priors(ws: Workspace, groups: tuple[Group, ...], group: Group, night: date) -> pa.Table:
    """Return the priors of a group as of a night: ``segment_id`` and every feature, a row for each segment.

    The rows of a group and the segments are those of the newest night that each table has by then; without any rows
    there are no priors.
    """
    profile = segment_of(groups)
    with ws.lake.connect() as con:
        rows = _newest(ws, con, group, night)
        key = f'"{group.entity.key}"'
        if profile is None or group.entity.name != CUSTOMER.name:
            named = f"SELECT NULL::VARCHAR AS segment, * FROM {rows}"
        else:
            people = _newest(ws, con, profile[0], night, "people")
            named = (
                f'SELECT people."{profile[1]}" AS segment, x.* FROM {rows} AS x'
                f' LEFT JOIN (SELECT {key}, "{profile[1]}" FROM {people}) AS people USING ({key})'
                if profile[0] is not group
                else f'SELECT "{profile[1]}" AS segment, * FROM {rows}'
            )
        con.execute(
            f"CREATE TEMP VIEW named AS WITH own AS ({named}) SELECT * REPLACE ('{EVERYBODY}' AS segment) FROM own"
            f" UNION ALL SELECT * FROM own WHERE segment IS NOT NULL AND segment <> '{EVERYBODY}'"
        )
        found = con.sql(_numbers(group.outputs)).to_arrow_table()
        texts = [con.sql(_text(feature)).to_arrow_table() for feature in group.outputs if feature.dtype == "string"]
    for words in texts:
        found = found.join(words, SEGMENT)
    schema = pa.schema([(SEGMENT, pa.string()), *((f.name, ARROW[f.dtype]) for f in group.outputs)])
    return found.select(schema.names).cast(schema).sort_by(SEGMENT)


def _newest(ws: Workspace, con: duckdb.DuckDBPyConnection, group: Group, night: date, name: str = "rows") -> str:
    """Make the newest night of a group's table by some night a view."""
    table = features_table(group)
    nights = Nights(ws.lake.oldest(table) or night, night)
    held = ws.lake.view(con, table, nights, name=f"{name}_all")
    con.execute(
        f'CREATE TEMP VIEW "{name}" AS SELECT * FROM "{held}" WHERE {NIGHT} = (SELECT max({NIGHT}) FROM "{held}")'
    )
    return f'"{name}"'


def _numbers(features: tuple[Feature, ...]) -> str:
    middles = {"int64": "quantile_disc", "float64": "quantile_cont"}
    columns = [f'{middles[f.dtype]}("{f.name}", 0.5) AS "{f.name}"' for f in features if f.dtype in middles]
    return f"SELECT segment AS {SEGMENT}{''.join(f', {column}' for column in columns)} FROM named GROUP BY segment"


def _text(feature: Feature) -> str:
    return f"""
        SELECT segment AS {SEGMENT}, word AS "{feature.name}" FROM (
            SELECT segment, "{feature.name}" AS word, count(*) AS often FROM named
            WHERE "{feature.name}" IS NOT NULL GROUP BY ALL)
        QUALIFY row_number() OVER (PARTITION BY segment ORDER BY often DESC, word) = 1"""
