"""The door of streamed events: the gate's verdicts, event by event, as they come (law 7).

It parses with the gate's own SQL and checks the contract's rules in SQL made from the same data as the Great
Expectations suite (``suites.py``), so that what the stream runner applies tonight's gate accepts, row by row. Like
there, nothing here tells the same event from a new one: that takes what is known already.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from infra.company import Company, Source
from infra.event_log import Entry
from validation.contracts import CONTRACTS, Column, Contract, Rule
from validation.facts import typed_rows
from validation.parse import typed
from validation.revisions import columns
from validation.sources import adapter
from validation.sources.base import literal, quoted
from validation.sources.log import UNKNOWN_SOURCE, raw, schema


@dataclass(frozen=True)
class Admitted:
    """What became of some entries.

    Attributes
    ----------
    rows
        Per fact the accepted ones in silver's columns, in the order of the log; ``revises`` is null, for the door does
        not know. ``ingested_at`` may lie ahead of the acceptance: until then an event is held.
    refused
        The others, each with its reason, which is the one that stands in quarantine.
    """

    rows: dict[str, pa.Table]
    refused: list[tuple[Entry, str]]


class Door:
    """The door of a company; its SQL is made once per source. May be used by several threads."""

    def __init__(self, company: Company) -> None:
        self.sources = {source.name: source for source in company.sources if source.streamed}
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        # Planning takes longer than judging a handful of events; what it would gain, large batches do without.
        self._connection.execute("PRAGMA disable_optimizer")
        for name, source in self.sources.items():
            self._connection.register("batch", numbered(source, []))
            self._connection.execute(f"CREATE TABLE entries_{name} AS FROM batch")
            self._connection.execute(f"PREPARE judge_{name} AS {verdicts(source, f'entries_{name}')}")
        self._alone = Lock()

    def admit(self, entries: Sequence[Entry]) -> Admitted:
        """Judge entries of any sources."""
        by_source: dict[str, list[Entry]] = defaultdict(list)
        refused = []
        for entry in entries:
            if entry.source in self.sources:
                by_source[entry.source].append(entry)
            else:
                refused.append((entry, UNKNOWN_SOURCE))
        rows: dict[str, list[pa.Table]] = defaultdict(list)
        for name, found in by_source.items():
            accepted, faults = self._judge(self.sources[name], found)
            rows[self.sources[name].fact].append(accepted)
            refused += faults
        refused.sort(key=lambda one: one[0].position)
        return Admitted({fact: in_order(tables) for fact, tables in rows.items()}, refused)

    def close(self) -> None:
        """Close the engine."""
        self._connection.close()

    def _judge(self, source: Source, entries: Sequence[Entry]) -> tuple[pa.Table, list[tuple[Entry, str]]]:
        name = source.name
        with self._alone:
            self._connection.register("batch", numbered(source, entries))
            self._connection.execute(f"TRUNCATE entries_{name}; INSERT INTO entries_{name} FROM batch")
            judged = self._connection.sql(f"EXECUTE judge_{name}").to_arrow_table()
            self._connection.unregister("batch")
        reasons, good = judged["_reason"], pc.equal(judged["_reason"], "")
        bad = pc.indices_nonzero(pc.invert(good))
        faults = [
            (entries[at], reason) for at, reason in zip(bad.to_pylist(), reasons.take(bad).to_pylist(), strict=True)
        ]
        return judged.filter(good).drop_columns(["_reason"]), faults


def numbered(source: Source, entries: Sequence[Entry]) -> pa.Table:
    """Return the raw rows of entries with their place among these."""
    rows = raw(source, entries)
    return rows.append_column("_row", pa.array(range(rows.num_rows), pa.int64()))


def in_order(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several sources in the order of the log."""
    rows = tables[0] if len(tables) == 1 else pa.concat_tables(tables).sort_by("position")
    return rows.append_column("revises", pa.nulls(rows.num_rows, pa.bool_()))


def verdicts(source: Source, entries: str) -> str:
    """Return SQL of silver's columns and ``_reason``, empty where a row is accepted, of the raw rows of a table."""
    contract, names = CONTRACTS[source.fact], schema(source).names
    moment = typed("time", adapter(source).available(source))
    parsed = typed_rows(contract, source, "stamped", names)
    checks = ", ".join(f"CASE WHEN {broken} THEN {literal(reason)} END" for reason, broken in rules(contract))
    return f"""
        WITH stamped AS (SELECT *, {moment} AS _ingested_at, ({moment})::DATE AS known_day FROM {entries}),
        parsed AS ({parsed}),
        judged AS (SELECT *, list_transform(_unparsable, lambda name: 'unparsable:' || name) AS _unread,
            list_filter([{checks}]::VARCHAR[], lambda reason: reason IS NOT NULL
                AND NOT list_contains(_unparsable, replace(reason, 'missing:', ''))) AS _broken FROM parsed)
        SELECT {", ".join(columns(contract))}, array_to_string(list_sort(list_concat(_unread,
            CASE WHEN len(list_filter(_unparsable, lambda name: starts_with(name, 'row'))) = 0 THEN _broken END)), ';')
            AS _reason
        FROM judged ORDER BY _row"""


def rules(contract: Contract) -> Iterator[tuple[str, str]]:
    """Yield the reason of every rule of a contract with SQL that is true where a row breaks it.

    Examples
    --------
    >>> dict(rules(CONTRACTS["outcomes"]))["missing:value"]
    '"value" IS NULL'
    """
    for column in contract.all_columns:
        yield from of_column(column)
    for rule in contract.all_rules:
        yield rule.name, of_rule(rule)


def of_column(column: Column) -> Iterator[tuple[str, str]]:
    """Yield reason and SQL of every rule of a column."""
    name = quoted(column.name)
    if column.required:
        yield f"missing:{column.name}", f"{name} IS NULL"
    if column.allowed:
        yield f"unknown:{column.name}", f"{name} NOT IN ({', '.join(map(literal, column.allowed))})"
    if column.pattern:
        yield f"form:{column.name}", f"NOT regexp_full_match({name}, {literal(column.pattern)})"
    bounds = [f"{name} < {column.least!r}"] if column.least is not None else []
    bounds += [f"{name} > {column.most!r}"] if column.most is not None else []
    if bounds:
        yield f"range:{column.name}", " OR ".join(bounds)


def of_rule(rule: Rule) -> str:
    """Return SQL that is true where a row breaks a rule between columns."""
    first, second = map(quoted, rule.columns)
    where = f"{second} IN ({', '.join(map(literal, rule.words))})"
    if rule.kind == "given_when":
        return f"{first} IS NULL AND {where}"
    if rule.kind == "not_negative":
        return f"{first} < 0 AND {where}"
    return f"{first} > {second}"
