"""Makes answers of what was read: features in Feast's form, scores with every value's age, and why it is not fresh."""

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import orjson

from infra.feast_form import Value
from serving.inputs import compute
from serving.ladder import NULL_VALUE, PRESENT, Outcome
from serving.lookup import Found, Reading, Rows, moment, readings
from serving.models import Model
from serving.plans import Plan
from serving.requests import Wanted
from serving.schema import Delivery, Fallback, FeatureValue, Metadata, Plain, Score, ScoreResponse, Told
from serving.views import SECOND_US, Reference


def features_answer(wanted: Wanted, found: Found, request: str) -> bytes:
    """Return Feast's answer as JSON; ``rapport`` beside it says which values are not of their first rung, and why.

    Parameters
    ----------
    wanted
        The request. Its own inputs are not answered, only what was computed from them.
    found
        What was read for it.
    request
        The id of the request.
    """
    plan = wanted.plan
    columns: list[bytes | None] = [None] * len(plan.names)
    fallbacks: list[Fallback] = []
    for rows in found.rows.values():
        _columns(rows, columns)
        _fallen(rows, plan, fallbacks)
    if plan.computed:
        _computed(wanted, found, columns)
    results = b",".join([*map(_given, wanted.entities.values()), *filter(None, columns)])
    metadata = _metadata(plan, tuple(wanted.entities))
    told = _told(found, request, fallbacks)
    return b"".join((b'{"metadata":', metadata, b',"results":[', results, b'],"rapport":', told, b"}"))


def score_answer(model: Model, ids: Sequence[str], plan: Plan, found: Found, request: str) -> ScoreResponse:
    """Return the score of each id, with the values it was made of, their rungs and ages, and what was missing."""
    read = readings(plan, next(iter(found.rows.values())))
    rows = [[one[reference].value for reference in model.references] for one in read]
    results = [_inputs(entity, one) for entity, one in zip(ids, read, strict=True)]
    if model.manifest.kind == "lightgbm_policy":
        for result, values in zip(results, model.action_values(rows), strict=True):
            result["action_values"] = values
            result["choice"] = max(values, key=values.__getitem__)
    else:
        for result, score in zip(results, model.scores(rows), strict=True):
            result["score"] = score
    manifest = model.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "digest": model.digest,
        "entity": manifest.entity,
        "results": results,
        **_served(found, request),
    }


def plain(value: Value) -> Plain:
    """Return a value as JSON has it: bytes in base64 and numbers that are none as words, as protobuf does."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@lru_cache(maxsize=4096)
def time_text(moment: datetime) -> str:
    """Return a moment as protobuf's JSON has it: no fraction, milliseconds or microseconds, as needed.

    Examples
    --------
    >>> time_text(datetime(2026, 11, 20, 23, 59, 59, 500000))
    '2026-11-20T23:59:59.500Z'
    """
    text, micros = moment.isoformat(timespec="seconds")[:19], moment.microsecond
    if micros == 0:
        return f"{text}Z"
    return f"{text}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{text}.{micros:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return time_text(moment(seconds * SECOND_US))[:-1]


def _time(us: int) -> str:
    """Return microseconds since the epoch as ``time_text`` has them."""
    seconds, micros = divmod(us, SECOND_US)
    if micros == 0:
        return f"{_second(seconds)}Z"
    return f"{_second(seconds)}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=4096)
def _tail(statuses: str | tuple[str, ...], event_us: tuple[int, ...]) -> bytes:
    """Return the rest of a column behind its values; equal ones follow each other, so a few are kept."""
    said = [statuses] * len(event_us) if isinstance(statuses, str) else statuses
    stamps = [_time(us) for us in event_us]
    return b',"statuses":%b,"event_timestamps":%b}' % (orjson.dumps(said), orjson.dumps(stamps))


@lru_cache(maxsize=512)
def _metadata(plan: Plan, keys: tuple[str, ...]) -> bytes:
    metadata: Metadata = {"feature_names": [*keys, *plan.names]}
    if plan.views is not None:
        metadata["feature_view_metadata"] = [{"name": view} for view in plan.views]
    return orjson.dumps(metadata)


def _served(found: Found, request: str) -> Delivery:
    return {
        "request": request,
        "served_at": _time(found.served_us),
        "applied": None if found.applied_us is None else _time(found.applied_us),
        "degraded": found.degraded,
    }


def _told(found: Found, request: str, fallbacks: list[Fallback]) -> bytes:
    """Return what stands beside Feast's answer; most have no fallbacks, and then it is always of one form."""
    if fallbacks or found.degraded:
        told: Told = {**_served(found, request), "fallbacks": fallbacks}
        return orjson.dumps(told)
    applied = "null" if found.applied_us is None else f'"{_time(found.applied_us)}"'
    served = _time(found.served_us)
    return (
        f'{{"request":"{request}","served_at":"{served}","applied":{applied},"degraded":false,"fallbacks":[]}}'.encode()
    )


def _given(ids: Sequence[str]) -> bytes:
    return b'{"values":' + orjson.dumps(ids) + _tail(PRESENT, (0,) * len(ids))


def _columns(rows: Rows, columns: list[bytes | None]) -> None:
    """Put the columns of the ladders into their places of the answer, as JSON.

    Nothing and numbers that JSON does not have come out as ``null``, so a column without that word has them not.
    Columns of one ladder that stand side by side and hold one number each are written in one go.
    """
    for chain, outcomes in rows:
        event_us = tuple([outcome.event_us for outcome in outcomes])
        said = [outcome.status for outcome in outcomes]
        first_rung = not any(said)
        tail = _tail(PRESENT, event_us)
        if len(outcomes) == 1 and first_rung and chain.numbers_side_by_side:
            numbers = orjson.dumps(chain.pick(outcomes[0].values))[1:-1]
            if b"null" not in numbers:
                between = b']%b,{"values":[' % tail
                columns[chain.positions[0]] = b'{"values":[%b]%b' % (numbers.replace(b",", between), tail)
                continue
        picked = zip(*[chain.pick(outcome.values) for outcome in outcomes], strict=True)
        for position, column in zip(chain.positions, picked, strict=True):
            values = orjson.dumps(column)
            if first_rung and b"null" not in values:
                columns[position] = b'{"values":' + values + tail
                continue
            statuses = tuple(
                status or (PRESENT if value is not None else NULL_VALUE)
                for status, value in zip(said, column, strict=True)
            )
            values = orjson.dumps(list(map(plain, column)))
            columns[position] = b'{"values":' + values + _tail(statuses, event_us)


def _fallen(rows: Rows, plan: Plan, fallbacks: list[Fallback]) -> None:
    """Add the values that are not of their first rung."""
    for chain, outcomes in rows:
        for row, outcome in enumerate(outcomes):
            if outcome.reason:
                fallbacks += [_fallback(plan.names[place], row, outcome) for place in chain.positions]


def _fallback(name: str, row: int, outcome: Outcome) -> Fallback:
    age = None if outcome.age_us is None else outcome.age_us / 1e6
    return {"feature": name, "row": row, "rung": outcome.rung, "reason": outcome.reason, "age_seconds": age}


def _computed(wanted: Wanted, found: Found, columns: list[bytes | None]) -> None:
    """Put what was computed from the request into its places; it is as old as the request."""
    plan = wanted.plan
    for reference, values in compute(plan.computed, wanted.inputs).items():
        statuses = tuple(PRESENT if value is not None else NULL_VALUE for value in values)
        tail = _tail(statuses, (found.served_us,) * len(values))
        columns[plan.computed_places[reference]] = b'{"values":' + orjson.dumps(list(map(plain, values))) + tail


def _inputs(entity: str, one: Mapping[Reference, Reading]) -> Score:
    features = {str(reference): _feature(reading) for reference, reading in one.items()}
    missing = [str(reference) for reference, reading in one.items() if reading.reason]
    return {"entity": entity, "features": features, "missing": missing}


def _feature(reading: Reading) -> FeatureValue:
    return {
        "value": plain(reading.value),
        "status": reading.status,
        "rung": reading.rung,
        "reason": reading.reason or None,
        "event_time": None if reading.event_us is None else _time(reading.event_us),
        "age_seconds": reading.age_seconds,
    }
