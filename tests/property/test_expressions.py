"""Expressions and masks mean the same in plain Python, which serves, as in the compiler and at the door."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import duckdb
import ibis
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.catalogue import standard
from features.compute.evaluate import LOWER_CASE, evaluate, lowered
from features.compute.expressions import operand
from features.declare import word_lists
from features.declare.expression_types import ExpressionType, column_types, type_of
from features.declare.terms import Expression, Operator, Term, coalesce, col, when
from validation.contracts.masks import mask, masked_sql

WORD_LISTS = (word_lists.NEGATIVE, word_lists.POSITIVE, word_lists.INSISTENT, word_lists.LEAVING, "[?]", "^t", "i")

COLUMNS: Mapping[str, tuple[ExpressionType, pa.DataType]] = {
    **dict.fromkeys(("t", "u"), ("text", pa.string())),
    **dict.fromkeys(("i", "j"), ("integer", pa.int64())),
    **dict.fromkeys(("x", "y"), ("decimal", pa.float64())),
    **dict.fromkeys(("p", "q"), ("boolean", pa.bool_())),
    **dict.fromkeys(("m", "n"), ("time", pa.timestamp("us", "UTC"))),
}
TYPES = {name: kind for name, (kind, _) in COLUMNS.items()}
# What people and machines write: letters that change by case, addresses, numbers, single and double spaces.
PIECES = (
    "This is BROKEN", " ", "  ", "!", "jo@example.org", "A.B+c@x-y.co.uk", "@", ".", "_", "-", "+49 30 1234567",
    "4111 1111 1111 1111", "(030) 555-1234", "020 7946 0958", "2026-11-20", "İ", "ΑΣ", "ß", "K", "é", "🤦🏼", "\n",
    "\t", "%", "a", "7", "0", "\u00a0", "\u0660", "C000123",
)  # fmt: skip
texts = st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text(max_size=12))
whole = st.integers(-(10**6), 10**6)
decimals = st.floats(-(10.0**6), 10.0**6).map(lambda value: round(value, 3))
times = st.datetimes(datetime(1969, 12, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
VALUES: Mapping[ExpressionType, st.SearchStrategy[Any]] = {
    "text": texts,
    "integer": whole,
    "decimal": decimals,
    "boolean": st.booleans(),
    "time": times,
}
rows = st.fixed_dictionaries({name: st.one_of(st.none(), VALUES[kind]) for name, kind in TYPES.items()})
t, u, i, j, x, y, p, q, m, n = (col(name) for name in COLUMNS)
EACH: tuple[Term, ...] = (
    *(made for a, b in ((i, j), (x, y), (i, x), (t, u), (m, n)) for made in (a == b, a != b, a < b, a <= b)),
    *(made for a, b in ((i, j), (x, y), (i, x), (t, u), (m, n)) for made in (a > b, a >= b)),
    *(made for a, b in ((i, j), (x, y), (i, y)) for made in (a + b, a - b, a * b, a / b)),
    i / 0, x / 0.0, i / (j - j),
    t.isin("a", "This is BROKEN"), t.isin(""), t == "a", i == 7,
    p & q, p | q, ~p, (i < j) & ~(t == u), t.isnull(), ~x.isnull(),
    when(p, i, j), when(i < j, t, "none"), when(t == u, x, 1.5), when(p, 1, 0),
    coalesce(i, j, 0), coalesce(t, u), coalesce(x, y),
    t.length(), t.words(), m.hour(), m.weekday(),
    *(t.matches(one) for one in WORD_LISTS),
    word_lists.frustration(t), when(t.words() > 2, t.length() / t.words(), -1.0),
)  # fmt: skip


def test_expressions_cover_every_operator() -> None:
    def operators(part: object) -> set[str]:
        return {part.operator}.union(*map(operators, part.operands)) if isinstance(part, Expression) else set()

    assert set().union(*map(operators, EACH)) == set(get_args(Operator))


@pytest.mark.row("V1")
@settings(max_examples=40)
@given(st.lists(rows, min_size=1, max_size=20))
@example([dict.fromkeys(COLUMNS)])
def test_python_equals_duckdb(drawn: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(drawn, pa.schema({name: arrow for name, (_, arrow) in COLUMNS.items()}))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("facts", table)
        facts = ibis.duckdb.from_connection(connection).table("facts")
        found = facts.select(**{f"e{at}": operand(facts, part) for at, part in enumerate(EACH)}).to_pyarrow()
    for at, part in enumerate(EACH):
        ours = [evaluate(part, row) for row in drawn]
        theirs = found[f"e{at}"].to_pylist()
        if type_of(part, TYPES) == "boolean":
            # Whoever reads a condition takes none as false.
            ours, theirs = [bool(one) for one in ours], [bool(one) for one in theirs]
        assert ours == theirs, (at, part)


@settings(max_examples=15)
@given(st.lists(texts, min_size=20, max_size=60))
@example(["a@b.c_d@e.f", "a@b.co@d.ef", "@@x.y a@b a@.c -@-.-", "0\u0660 123 4567", "+49 30 1234567 4111111111111111"])
def test_masks_equal_the_gates(drawn: list[str]) -> None:
    with duckdb.connect() as connection:
        found = connection.from_arrow(pa.table({"text": drawn})).project(masked_sql("text")).fetchall()
    assert [text for (text,) in found] == [mask(text) for text in drawn]


def test_lower_case_equals_the_engines() -> None:
    letters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    with duckdb.connect() as connection:
        found = connection.from_arrow(pa.table({"letter": letters})).project("lower(letter)").fetchall()
    assert [lower for (lower,) in found] == [lowered(letter) for letter in letters]
    assert set(LOWER_CASE) == {0x130, 0x3A3}


def test_catalogue_patterns_use_the_portable_subset() -> None:
    def patterns(part: object) -> set[str]:
        if not isinstance(part, Expression):
            return set()
        inner = set().union(*map(patterns, part.operands))
        return inner | {str(part.operands[1])} if part.operator == "matches" else inner

    parts = [part for group in standard().groups for one in group.measures for part in (group.where, one.of, one.where)]
    parts += [one.value for request in standard().requests for one in request.derived]
    found = set().union(*map(patterns, parts))
    assert word_lists.NEGATIVE in found
    assert [one for one in found if set(one) & set("\\$") or not one.isascii() or one != one.lower()] == []
    assert all(column_types(group.contract) for group in standard().groups)
