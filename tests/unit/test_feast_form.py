"""Our codec of Feast's values and keys gives Feast's bytes."""

import warnings
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapport_feast.row.keys import entity_key, feature_field, time_field
from rapport_feast.value_form import decode_time, decode_value, encode_time, encode_value

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from feast.infra.online_stores.helpers import _mmh3, _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from google.protobuf.timestamp_pb2 import Timestamp

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(
    st.tuples(st.just("bytes"), st.binary()),
    st.tuples(st.just("string"), st.text()),
    st.tuples(st.just("int32"), INT32),
    st.tuples(st.just("int64"), INT64),
    st.tuples(st.just("double"), st.floats(allow_nan=False)),
    st.tuples(st.just("float"), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(st.just("unix_timestamp"), INT64),
)
KEY_VALUES = st.one_of(
    st.tuples(st.just("string"), st.text()),
    st.tuples(st.just("bytes"), st.binary()),
    st.tuples(st.just("int32"), INT32),
    st.tuples(st.just("int64"), INT64),
    st.tuples(st.just("unix_timestamp"), INT64),
)


@given(VALUES)
def test_values_are_feasts(pair):
    kind, value = pair
    theirs = Value(**{f"{kind}_val": value}).SerializeToString()
    assert encode_value(kind, value) == theirs
    assert decode_value(theirs) == value


def test_a_nan_stays_a_nan():
    theirs = Value(double_val=float("nan")).SerializeToString()
    assert encode_value("double", float("nan")) == theirs
    assert decode_value(theirs) != decode_value(theirs)


def test_null_and_empty_are_nothing():
    theirs = Value(null_val=0).SerializeToString()
    assert encode_value("null", None) == theirs
    assert decode_value(theirs) is None
    assert decode_value(Value().SerializeToString()) is None


def test_a_kind_that_no_feature_has_is_refused():
    with pytest.raises(ValueError, match="field 14"):
        decode_value(Value(int64_list_val={"val": [1, 2]}).SerializeToString())


@given(st.binary(max_size=40))
def test_bytes_that_are_no_value_are_refused_or_read(encoded):
    try:
        decode_value(encoded)
        decode_time(encoded)
    except ValueError:
        return


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_times_are_protobufs(moment):
    theirs = Timestamp()
    theirs.FromDatetime(moment)
    assert encode_time(moment) == theirs.SerializeToString()
    assert decode_time(theirs.SerializeToString()) == moment


@given(st.dictionaries(st.text(min_size=1, max_size=8), KEY_VALUES, min_size=1, max_size=3))
def test_entity_keys_are_feasts(keys):
    theirs = EntityKey(join_keys=list(keys), entity_values=[Value(**{f"{kind}_val": v}) for kind, v in keys.values()])
    assert entity_key("shop", keys) == _redis_key("shop", theirs, entity_key_serialization_version=3)


@given(st.text(min_size=1), st.text(min_size=1))
def test_hash_fields_are_feasts(view, feature):
    assert feature_field(view, feature) == _mmh3(f"{view}:{feature}")
    assert time_field(view) == f"_ts:{view}".encode()
