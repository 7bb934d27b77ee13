"""The simulated company's features: the same rows from DuckDB and from Spark, and none of them constant."""

from datetime import timedelta

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from features.catalogue import standard
from features.compute import as_known
from features.compute.build import compute
from features.compute.historical import historical
from features.compute.spark_check import check_on_spark
from features.compute.tables import features_table, tiles_table
from features.declare.group import Group
from infra.clock import Nights, parse_duration
from infra.engine.open import open_engine
from infra.lake.commit import Commit
from infra.workspace import Workspace
from rapport_feast.errors import Terminal
from tests.conftest import CopyRing


def history(ws: Workspace, group: Group) -> Nights:
    first, last = ws.lake.oldest(features_table(group)), ws.lake.newest(features_table(group))
    assert first is not None
    assert last is not None
    return Nights(first, last)


@pytest.mark.assure
def test_spark_builds_the_rows_that_duckdb_built(small_ring: Workspace) -> None:
    with open_engine(small_ring, "spark") as engine:
        for group in standard().groups:
            built = compute(small_ring, engine, group, history(small_ring, group))
            for table, rows in ((tiles_table(group), built.tiles), (features_table(group), built.features)):
                assert small_ring.lake.digest_rows(rows) == small_ring.lake.digests(table), table


@pytest.mark.assure
def test_the_nightly_check_notices_a_changed_value(copy_ring: CopyRing) -> None:
    ws = copy_ring()
    group = next(group for group in standard().groups if group.name == "customer_tickets")
    last = history(ws, group).last
    assert features_table(group) in check_on_spark(ws, last)
    rows = ws.lake.read(features_table(group), Nights(last, last)).to_pylist()
    rows[0]["customer__tickets__90d"] += 1
    table = type(ws.lake.read(features_table(group))).from_pylist(rows, ws.lake.schema(features_table(group)))
    ws.lake.replace(features_table(group), table, Commit(Nights(last, last)))
    with pytest.raises(Terminal, match="Spark's rows differ"):
        check_on_spark(ws, last)


@pytest.mark.parametrize("group", standard().groups, ids=lambda group: group.name)
def test_no_feature_is_constant(small_ring: Workspace, group: Group) -> None:
    rows = small_ring.lake.read(features_table(group))
    constant = {f.name for f in group.outputs if len(rows[f.name].drop_null().unique()) < 2}
    if group.served == "live":
        # Nobody does anything in the last minutes before midnight that is known by then: these are asked by day.
        moments = historical(small_ring, group, busy_moments(small_ring, group))
        constant = {name for name in constant if len(moments[name].drop_null().unique()) < 2}
    assert constant == set()


def busy_moments(ws: Workspace, group: Group) -> pa.Table:
    """Return moments right after a fact of an entity came to count: those whose facts came fastest."""
    last = history(ws, group).last
    with ws.lake.connect() as connection:
        known = as_known.history(ws, connection, group.fact, last)
        delay = (known.known_from - known.event_us).name("delay")
        fastest = known.filter(known[group.entity.key].notnull()).order_by(delay).limit(200)
        chosen = fastest.select(group.entity.key, event_us=fastest.known_from)
        found = connection.sql(ibis.to_sql(chosen, dialect="duckdb")).to_arrow_table()
    lag = parse_duration(group.live_lag) // timedelta(microseconds=1)
    times = pc.add(found["event_us"], lag).cast(pa.timestamp("us", "UTC"))
    return pa.table({group.entity.key: found[group.entity.key], "event_time": times, "position": range(len(found))})
