"""Rows encoded as columns are, byte by byte, what the codecs give one by one; and the newest wins in any order."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.redis.embedded import embedded_server
from infra.redis.online_store import online_store_at
from rapport_feast.errors import Terminal, Transient
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.binary_columns import ARROW, entity_keys, stamps
from rapport_feast.row.encoding import ViewForm, encode
from rapport_feast.row.keys import entity_key, published_key, row_field, stream_key
from rapport_feast.row.layout import Packing
from rapport_feast.row.writer import RowWriter
from rapport_feast.value_form import Kind, encode_time, encode_value

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    "int64": INT64 | st.integers(-300, 300),
    "float64": st.floats(allow_nan=False),
    "string": st.text(max_size=300),
}
KINDS: dict[str, Kind] = {"int64": "int64", "float64": "double", "string": "string"}
TIMES = st.integers(-(2**62), 2**62)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@st.composite
def tables(draw):
    dtypes = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=12))
    rows = draw(st.integers(1, 6))
    columns = {
        f"f{place}": draw(st.lists(st.none() | VALUES[dtype], min_size=rows, max_size=rows))
        for place, dtype in enumerate(dtypes)
    }
    return dict(zip(columns, dtypes, strict=True)), columns, rows


@given(tables(), st.data())
@settings(max_examples=300)
def test_packed_rows_and_feasts_values_are_those_of_the_codecs(drawn, data):
    dtypes, columns, rows = drawn
    packing = Packing(dtypes, "0a1b2c3d")
    form = ViewForm("small", "customer_id", "view", packing)
    ids = data.draw(st.lists(st.text(max_size=20), min_size=rows, max_size=rows))
    known, until = (data.draw(st.lists(TIMES, min_size=rows, max_size=rows)) for _ in range(2))
    event = [
        (at - datetime(1970, 1, 1, tzinfo=UTC)) // (at.resolution)
        for at in data.draw(st.lists(MOMENTS, min_size=rows, max_size=rows))
    ]
    table = pa.table({name: pa.array(values, ARROW[dtypes[name]]) for name, values in columns.items()})
    found = encode(form, ids, table, np.array(event), np.array(known), np.array(until))
    for row in range(rows):
        values = [columns[name][row] for name in dtypes]
        assert b"".join(part[row].as_py() for part in found.mark[1]) == packing.pack(
            event[row], known[row], until[row], values
        )
        assert found.keys[row].as_py() == entity_key("small", {"customer_id": ("string", ids[row])})
        for column, value, dtype in zip(found.values, values, dtypes.values(), strict=True):
            assert column[row].as_py() == (b"" if value is None else encode_value(KINDS[dtype], value))


@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_times_are_protobufs(moments):
    micros = [(at - datetime(1970, 1, 1, tzinfo=UTC)) // at.resolution for at in moments]
    assert stamps(np.array(micros)).to_pylist() == [encode_time(at) for at in moments]


@given(st.lists(st.tuples(INT64, st.text(max_size=9)), min_size=1, max_size=4))
def test_keys_of_two_parts_are_feasts(pairs):
    numbers, texts = zip(*pairs, strict=True)
    found = entity_keys("shop", {"b": pa.array(numbers, pa.int64()), "a": pa.array(texts)})
    assert found.to_pylist() == [entity_key("shop", {"a": ("string", t), "b": ("int64", n)}) for n, t in pairs]


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineStore]:
    with embedded_server(tmp_path_factory.mktemp("valkey")) as server:
        yield online_store_at(f"redis://:{server.password}@127.0.0.1:{server.port}/0", "small")


FORM = ViewForm("small", "customer_id", "view", Packing({"n": "int64"}, "00000000"))
KEY = entity_key("small", {"customer_id": ("string", "C1")})


def held(online: OnlineStore) -> tuple[int, int, int]:
    with online.client() as client:
        row = FORM.packing.unpack(client.hget(KEY, row_field("view")))
    return row.event_us, row.known_us, int(row.values[0] or 0)


def write(writer: RowWriter, event: int, known: int, value: int) -> int:
    return writer.write(FORM, ["C1"], pa.table({"n": [value]}), event, known).accepted


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12), st.sampled_from([1, 2**50])
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_newest_event_time_and_known_at_wins_in_any_order(online, orders, unit):
    """Also where a double would not tell two moments apart: the unit makes differences of known-at beyond 53 bits."""
    with online.client() as client:
        client.delete(KEY)
    best = None
    with RowWriter(online) as writer:
        for place, (event, known) in enumerate(orders):
            order = (event * 10_000, known * unit + place % 2)
            accepted = write(writer, *order, place)
            assert accepted == (best is None or order > best[:2])
            best = (*order, place) if accepted else best
            assert held(online) == best


def test_an_equal_pair_replaces_only_when_told_and_the_same_row_is_none(online):
    with online.client() as client:
        client.delete(KEY)
    with RowWriter(online) as plain, RowWriter(online, replace=True) as night:
        assert [write(plain, 5, 5, 1), write(plain, 5, 5, 1), write(plain, 5, 5, 2)] == [1, 1, 0]
        assert held(online) == (5, 5, 1)
        assert [write(night, 5, 5, 2), write(night, 5, 4, 3), write(night, 4, 9, 3)] == [1, 0, 0]
        assert held(online) == (5, 5, 2)


def test_what_is_shown_may_differ_and_nan_is_no_value(online):
    form = ViewForm("small", "customer_id", "shown", Packing({"n": "int64", "x": "float64"}, "00000000"))
    with RowWriter(online) as writer, online.client() as client:
        rows = pa.table({"n": [7], "x": [math.nan]})
        writer.write(form, ["C2"], rows, 1, 1, 9, shown=pa.table({"n": [3]}))
        row = client.hgetall(entity_key("small", {"customer_id": ("string", "C2")}))
    assert form.packing.unpack(row[row_field("shown")]).values == (7, None)
    assert [row[field] for field in form.fields] == [encode_value("int64", 3), b""]


def test_refused_rows_are_named_and_a_wide_view_is_written_whole(online):
    dtypes = {f"f{place}": "int64" for place in range(5000)}
    form = ViewForm("small", "customer_id", "wide", Packing(dtypes, "00000000"))
    rows = pa.table({name: [place, -place, 1] for place, name in enumerate(dtypes)})
    with RowWriter(online) as writer, online.client() as client:
        assert writer.write(form, ["A", "B", "C"], rows, 1, np.array([1, 1, 1])).accepted == 3
        found = writer.write(form, ["A", "B", "C"], rows, 1, np.array([2, 0, 2]))
        assert (found.accepted, found.refused.tolist()) == (2, [1])
        row = client.hget(entity_key("small", {"customer_id": ("string", "B")}), row_field("wide"))
    assert form.packing.unpack(row).values == tuple(-place for place in range(5000))


def test_a_heartbeat_never_goes_back(online):
    with RowWriter(online) as writer, online.client() as client:
        for applied, position in ((5, 1), (9, 3), (7, 2)):
            writer.heartbeat(applied, position)
        assert client.hgetall(stream_key("small")) == {b"applied": b"9", b"position": b"3"}
    assert published_key("small") != stream_key("small")


def test_flushed_scripts_are_loaded_again_and_another_type_is_terminal(online):
    with RowWriter(online) as writer, online.client() as client:
        write(writer, 100, 1, 1)
        client.script_flush()
        assert write(writer, 101, 1, 2) == 1
        client.delete(KEY)
        client.set(KEY, "not a hash")
        with pytest.raises(Terminal, match="WRONGTYPE"):
            write(writer, 102, 1, 3)
        client.delete(KEY)
        assert write(writer, 103, 1, 4) == 1


def test_a_full_server_is_a_fault_that_passes(tmp_path: Path):
    with embedded_server(tmp_path) as server:
        online = online_store_at(f"redis://:{server.password}@127.0.0.1:{server.port}/0", "small")
        with RowWriter(online) as writer, online.client() as client:
            client.config_set("maxmemory", "1")
            with pytest.raises(Transient, match="OOM"):
                write(writer, 1, 1, 1)
            client.config_set("maxmemory", "0")
            assert write(writer, 1, 1, 1) == 1
