"""The conversation in progress: its features by the same algebra, over turns that are no facts yet.

The groups of the catalogue about a conversation are compiled once per process, each into one DuckDB statement that is
prepared; it answers any number of conversations at a time. The online service keeps the turns and calls this; it
imports the module in a thread of its own, because Ibis and DuckDB take seconds to import.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import ibis
import pyarrow as pa
from ibis.expr.types import Table

from features.compute import bands, outputs
from features.compute.bands import POSITION
from features.compute.group_facts import ENTITY
from features.compute.ordering import order_key
from features.compute.windowing import hop_micros, tile_of
from features.declare.catalogue import Catalogue
from features.declare.entity import TICKET
from features.declare.group import Group
from features.stream.live_values import evaluated_columns, measures_over_evaluated
from features.stream.turns import FACT, Conversation
from rapport_feast.errors import Rejected

TURN_SCHEMA = pa.schema(
    [
        (POSITION, pa.int64()),
        ("t_us", pa.int64()),
        ("event_us", pa.int64()),
        *(
            (name, pa.string())
            for name in ("event_id", "thread_id", "channel", "author_role", "visibility", "text", "action")
        ),
    ]
)
MEMORY_LIMIT = "256MB"


def conversation_groups(catalogue: Catalogue) -> tuple[Group, ...]:
    """Return the groups of the catalogue about a conversation; also of one that has no ticket yet."""
    groups = (group for group in catalogue.groups if group.entity is TICKET and group.fact == FACT)
    return tuple(replace(group, where=None) for group in groups)


class Conversations:
    """The groups of conversations, compiled; used by one thread at a time.

    Raises
    ------
    Rejected
        A group reads a column that no turn has.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.groups = conversation_groups(catalogue)
        self._connection = duckdb.connect(config={"threads": 1, "memory_limit": MEMORY_LIMIT})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.register("given", TURN_SCHEMA.empty_table())
        self._connection.execute("CREATE TEMP TABLE turns AS SELECT * FROM given")
        for number, group in enumerate(self.groups):
            if unknown := group.columns - set(TURN_SCHEMA.names):
                raise Rejected(f"group {group.name}", "columns that a turn has", ", ".join(sorted(unknown)))
            self._connection.execute(f"PREPARE group_{number} AS {statement(group)}")

    def values(self, conversations: Sequence[Conversation]) -> list[dict[str, Any]]:
        """Return feature = value for each conversation; a turn after its moment does not count yet."""
        rows = [
            {POSITION: place, "t_us": one.t_us, "thread_id": one.thread_id, **turn._asdict()}
            for place, one in enumerate(conversations)
            for turn in one.turns
        ]
        self._connection.register("given", pa.Table.from_pylist(rows, TURN_SCHEMA))
        self._connection.execute("DELETE FROM turns")
        self._connection.execute("INSERT INTO turns BY NAME SELECT * FROM given")
        found: list[dict[str, Any]] = [{} for _ in conversations]
        for number, group in enumerate(self.groups):
            # DuckDB adds whole numbers up in 128 bits.
            schema = pa.schema([(POSITION, pa.int64()), *((f.name, outputs.ARROW[f.dtype]) for f in group.outputs)])
            values = self._connection.sql(f"EXECUTE group_{number}").to_arrow_table().select(schema.names).cast(schema)
            for row in values.to_pylist():
                found[row.pop(POSITION)] |= row
        return found

    def close(self) -> None:
        """Give back what DuckDB holds."""
        self._connection.close()


def statement(group: Group) -> str:
    """Return the SQL of a group's values over the table ``turns``, for every conversation in it.

    Each step is materialised: the expressions of a measure are evaluated once, however many windows it has.
    """
    turns = ibis.table(
        ibis.schema({field.name: "string" if field.type == pa.string() else "int64" for field in TURN_SCHEMA}), "turns"
    )
    visible = turns.filter(turns.event_us <= turns.t_us).mutate(
        tile=tile_of(turns.event_us, hop_micros(group)), order_key=order_key(turns.event_us, turns.event_id)
    )
    facts = visible.select(POSITION, "t_us", "event_us", "tile", "order_key", **evaluated_columns(group, visible))
    steps: dict[str, Table] = {"facts": facts}
    rows = ibis.table(facts.schema(), "facts")
    lengths = bands.lengths_of(group)
    banded = rows.mutate(low=bands.count_true(~bands.inside(group, rows, window) for window in lengths))
    inside = banded.filter(banded.low < len(lengths)).mutate(high=ibis.literal(len(lengths), "int64"))
    steps["banded"] = bands.prepared(group, inside, measures_over_evaluated(group))
    steps["states"] = bands.spread_to_windows(group, ibis.table(steps["banded"].schema(), "banded"), [POSITION])
    spine = turns.select(POSITION, "t_us").distinct()
    states = spine.left_join(ibis.table(steps["states"].schema(), "states"), POSITION, rname="{name}_right")
    kept = [name for name in steps["states"].columns if name != POSITION]
    complete = states.select(POSITION, "t_us", *kept).mutate(**{ENTITY: ibis.literal("")})
    last = outputs.finished(group, complete, complete.t_us, [POSITION]).drop(group.entity.key)
    with_steps = ", ".join(f"{name} AS MATERIALIZED ({_sql(step)})" for name, step in steps.items())
    return f"WITH {with_steps} {_sql(last)}"


def _sql(step: Table) -> str:
    return str(ibis.to_sql(step, dialect="duckdb"))
