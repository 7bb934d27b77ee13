"""Feast's answer as JSON; ``rapport`` beside it says which values are not of their first rung, and why."""

from collections.abc import Sequence
from functools import lru_cache

import orjson

from serving.forms.encoding import json_time_us, json_value
from serving.forms.features import Fallback, FeatureNames, ResponseMetadata
from serving.lookup.outcome import NULL_VALUE, PRESENT, Outcome
from serving.lookup.plans import LookupQuery, Plan
from serving.lookup.request_features import compute_request_features
from serving.lookup.result import LookupResult, Rows, response_info


def features_response(query: LookupQuery, result: LookupResult, request: str) -> bytes:
    """Return Feast's answer as JSON; ``rapport`` beside it says which values are not of their first rung, and why.

    Parameters
    ----------
    query
        The request. Its own inputs are not answered, only what was computed from them.
    result
        What was read for it.
    request
        The id of the request.
    """
    plan = query.plan
    columns: list[bytes | None] = [None] * len(plan.names)
    fallbacks: list[Fallback] = []
    for rows in result.rows.values():
        _columns(rows, columns)
        _fallbacks(rows, plan, fallbacks)
    if plan.computed:
        _request_columns(query, result, columns)
    results = b",".join([*map(_join_key_column, query.entities.values()), *filter(None, columns)])
    metadata = _metadata(plan, tuple(query.entities))
    metadata_of_ours = _response_metadata(result, request, fallbacks)
    return b"".join((b'{"metadata":', metadata, b',"results":[', results, b'],"rapport":', metadata_of_ours, b"}"))


@lru_cache(maxsize=4096)
def _tail(statuses: str | tuple[str, ...], event_us: tuple[int, ...]) -> bytes:
    """Return the rest of a column behind its values; equal ones follow each other, so a few are kept."""
    row_statuses = [statuses] * len(event_us) if isinstance(statuses, str) else statuses
    stamps = [json_time_us(us) for us in event_us]
    return b',"statuses":%b,"event_timestamps":%b}' % (orjson.dumps(row_statuses), orjson.dumps(stamps))


@lru_cache(maxsize=512)
def _metadata(plan: Plan, keys: tuple[str, ...]) -> bytes:
    metadata: FeatureNames = {"feature_names": [*keys, *plan.names]}
    if plan.views is not None:
        metadata["feature_view_metadata"] = [{"name": view} for view in plan.views]
    return orjson.dumps(metadata)


def _response_metadata(result: LookupResult, request: str, fallbacks: list[Fallback]) -> bytes:
    """Return what stands beside Feast's answer; most have no fallbacks, and then it is always of one form."""
    if fallbacks or result.degraded:
        metadata_of_ours: ResponseMetadata = {**response_info(result, request), "fallbacks": fallbacks}
        return orjson.dumps(metadata_of_ours)
    applied = "null" if result.applied_us is None else f'"{json_time_us(result.applied_us)}"'
    served = json_time_us(result.served_us)
    return (
        f'{{"request":"{request}","served_at":"{served}","applied":{applied},"degraded":false,"fallbacks":[]}}'.encode()
    )


def _join_key_column(ids: Sequence[str]) -> bytes:
    return b'{"values":' + orjson.dumps(ids) + _tail(PRESENT, (0,) * len(ids))


def _columns(rows: Rows, columns: list[bytes | None]) -> None:
    """Put the columns of the ladders into their places of the answer, as JSON.

    Nothing and numbers that JSON does not have come out as ``null``, so a column without that word has them not.
    Columns of one ladder that stand side by side and hold one number each are written in one go.
    """
    for ladder, outcomes in rows:
        event_us = tuple([outcome.event_us for outcome in outcomes])
        row_statuses = [outcome.status for outcome in outcomes]
        first_rung = not any(row_statuses)
        tail = _tail(PRESENT, event_us)
        if len(outcomes) == 1 and first_rung and ladder.adjacent_numbers:
            numbers = orjson.dumps(ladder.pick(outcomes[0].values))[1:-1]
            if b"null" not in numbers:
                between = b']%b,{"values":[' % tail
                columns[ladder.positions[0]] = b'{"values":[%b]%b' % (numbers.replace(b",", between), tail)
                continue
        picked = zip(*[ladder.pick(outcome.values) for outcome in outcomes], strict=True)
        for position, column in zip(ladder.positions, picked, strict=True):
            values = orjson.dumps(column)
            if first_rung and b"null" not in values:
                columns[position] = b'{"values":' + values + tail
                continue
            statuses = tuple(
                status or (PRESENT if value is not None else NULL_VALUE)
                for status, value in zip(row_statuses, column, strict=True)
            )
            values = orjson.dumps(list(map(json_value, column)))
            columns[position] = b'{"values":' + values + _tail(statuses, event_us)


def _fallbacks(rows: Rows, plan: Plan, fallbacks: list[Fallback]) -> None:
    """Add the values that are not of their first rung."""
    for ladder, outcomes in rows:
        for row, outcome in enumerate(outcomes):
            if outcome.reason:
                fallbacks += [_fallback(plan.names[place], row, outcome) for place in ladder.positions]


def _fallback(name: str, row: int, outcome: Outcome) -> Fallback:
    age = None if outcome.age_us is None else outcome.age_us / 1e6
    return {"feature": name, "row": row, "rung": outcome.rung, "reason": outcome.reason, "age_seconds": age}


def _request_columns(query: LookupQuery, result: LookupResult, columns: list[bytes | None]) -> None:
    """Put what was computed from the request into its places; it is as old as the request."""
    plan = query.plan
    for reference, values in compute_request_features(plan.computed, query.inputs).items():
        statuses = tuple(PRESENT if value is not None else NULL_VALUE for value in values)
        tail = _tail(statuses, (result.served_us,) * len(values))
        columns[plan.computed_places[reference]] = b'{"values":' + orjson.dumps(list(map(json_value, values))) + tail
