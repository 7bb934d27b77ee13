"""The answer to a score: each entity's score with the values that it was made of, their rungs and ages."""

from collections.abc import Mapping, Sequence

from infra.models.scorer import Scorer
from serving.forms.encoding import json_time_us, json_value
from serving.forms.score import FeatureValue, Score, ScoreResponse
from serving.lookup.plans import Plan
from serving.lookup.result import LookupResult, Reading, readings, response_info
from serving.lookup.views import Reference
from serving.score.references import references_of


def score_response(model: Scorer, ids: Sequence[str], plan: Plan, result: LookupResult, request: str) -> ScoreResponse:
    """Return the score of each id, with the values it was made of, their rungs and ages, and what was missing."""
    read = readings(plan, next(iter(result.rows.values())))
    references = references_of(model)
    rows = [[one[reference].value for reference in references] for one in read]
    scores = [_inputs(entity, one) for entity, one in zip(ids, read, strict=True)]
    if model.manifest.actions:
        for entry, values in zip(scores, model.action_values(rows), strict=True):
            entry["action_values"] = values
            entry["choice"] = max(values, key=values.__getitem__)
    else:
        for entry, score in zip(scores, model.scores(rows), strict=True):
            entry["score"] = score
    manifest = model.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "digest": model.digest,
        "entity": manifest.entity,
        "results": scores,
        **response_info(result, request),
    }


def _inputs(entity: str, one: Mapping[Reference, Reading]) -> Score:
    features = {str(reference): _feature(reading) for reference, reading in one.items()}
    missing = [str(reference) for reference, reading in one.items() if reading.reason]
    return {"entity": entity, "features": features, "missing": missing}


def _feature(reading: Reading) -> FeatureValue:
    return {
        "value": json_value(reading.value),
        "status": reading.status,
        "rung": reading.rung,
        "reason": reading.reason or None,
        "event_time": None if reading.event_us is None else json_time_us(reading.event_us),
        "age_seconds": reading.age_seconds,
    }
