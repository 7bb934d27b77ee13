"""Makes answers of what was read: features in Feast's form, scores with every value's age and what was missing."""

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from infra.feast_form import EPOCH, Value
from serving.inputs import compute
from serving.lookup import Reading, Readings, age_seconds
from serving.models import Model
from serving.requests import Wanted
from serving.schema import FeaturesResponse, FeatureValue, Metadata, Plain, Score, ScoreResponse, Vector

PRESENT = "PRESENT"
NOT_FOUND = "NOT_FOUND"
ByEntity = Mapping[str, Readings]


def features_answer(wanted: Wanted, found: Mapping[str, ByEntity], now: datetime) -> FeaturesResponse:
    """Return Feast's answer; what was never published is null and NOT_FOUND, where Feast would say PRESENT.

    Parameters
    ----------
    wanted
        The request. Its own inputs are not answered, only what was computed from them.
    found
        Join key to id to readings.
    now
        When the request was made.
    """
    names, vectors = list(wanted.entities), [_given(ids) for ids in wanted.entities.values()]
    computed = compute(wanted.computed, wanted.inputs, now)
    for reference, where in wanted.references.items():
        names.append(wanted.name_of(reference))
        readings = (
            [found[where][entity][reference] for entity in wanted.entities[where]]
            if isinstance(where, str)
            else computed[reference]
        )
        vectors.append(_vector(readings))
    metadata: Metadata = {"feature_names": names}
    if wanted.with_views:
        views = dict.fromkeys(reference.view for reference in wanted.references)
        metadata["feature_view_metadata"] = [{"name": view} for view in views]
    return {"metadata": metadata, "results": vectors}


def score_answer(model: Model, ids: Sequence[str], found: ByEntity, now: datetime) -> ScoreResponse:
    """Return the score of each id, with the values it was made of, their ages at ``now`` and what was missing."""
    references = model.references
    rows = [[found[entity][reference].value for reference in references] for entity in ids]
    results = [_inputs(entity, found[entity], now) for entity in ids]
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
    text, micros = moment.strftime("%Y-%m-%dT%H:%M:%S"), moment.microsecond
    if micros == 0:
        return f"{text}Z"
    return f"{text}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{text}.{micros:06d}Z"


def _given(ids: Sequence[str]) -> Vector:
    epoch = time_text(EPOCH)
    return {"values": list(ids), "statuses": [PRESENT] * len(ids), "event_timestamps": [epoch] * len(ids)}


def _vector(readings: Sequence[Reading]) -> Vector:
    return {
        "values": [plain(reading.value) for reading in readings],
        "statuses": [PRESENT if reading.present else NOT_FOUND for reading in readings],
        "event_timestamps": [time_text(reading.event_time or EPOCH) for reading in readings],
    }


def _inputs(entity: str, readings: Readings, now: datetime) -> Score:
    features: dict[str, FeatureValue] = {
        str(reference): {
            "value": plain(reading.value),
            "event_time": None if reading.event_time is None else time_text(reading.event_time),
            "age_seconds": age_seconds(reading, now),
        }
        for reference, reading in readings.items()
    }
    missing = [str(reference) for reference, reading in readings.items() if not reading.present]
    return {"entity": entity, "features": features, "missing": missing}
