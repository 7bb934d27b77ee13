"""Requests: from a checked body to references that exist; each error is one sentence."""

from collections import Counter
from collections.abc import Callable, Mapping

from pydantic import TypeAdapter, ValidationError

from features.declare.request import Request
from infra.models.scorer import Scorer
from rapport_feast.errors import Rejected
from serving.errors import UnknownEntity, UnknownModel
from serving.forms.base import Ids, JsonValue
from serving.forms.features import FeaturesRequest
from serving.forms.score import ScoreRequest
from serving.http.body import first_error, parse_body
from serving.http.repeated import read_repeated, remember_features
from serving.lookup import request_features
from serving.lookup.plans import LookupQuery, Planner
from serving.lookup.views import Reference, Views
from serving.score.references import references_of

IDS = TypeAdapter(Ids)


def read_features(body: bytes, planner: Planner, models: Callable[[], Mapping[str, Scorer]]) -> LookupQuery:
    """Read the body of ``/get-online-features``; the models are fetched only if it names a feature service.

    Raises
    ------
    Rejected
        The body is not in the form of ``FeaturesRequest`` (``MalformedBody`` if it is no JSON object), or lacks an
        entity or an input that the features need.
    UnknownName
        There is no such view, feature, feature service or entity.
    """
    return read_repeated(body, planner) or _read_first(body, planner, models)


def _read_first(body: bytes, planner: Planner, models: Callable[[], Mapping[str, Scorer]]) -> LookupQuery:
    form, views = parse_body(body, FeaturesRequest), planner.views
    if form.feature_service is not None:
        model = find_model(models(), form.feature_service, "feature_service")
        references: dict[Reference, str | Request] = dict.fromkeys(
            references_of(model), views.key_of(model.manifest.entity)
        )
    elif form.features:
        resolved = [_resolve(text, views) for text in form.features]
        _refuse_duplicates("features", [str(reference) for reference, _ in resolved], "each feature once")
        references = dict(resolved)
    else:
        raise Rejected("features", "at least one feature or a feature_service", "neither")
    full, with_views = form.full_feature_names, form.include_feature_view_version_metadata
    entities = {
        key: _ids(key, values) for key, values in form.entities.items() if key not in views.catalogue.request_inputs
    }
    given = {key: values for key, values in form.entities.items() if key in views.catalogue.request_inputs}
    plan = planner.plan(references, full_names=full, with_views=with_views)
    _refuse_duplicates("features", list(plan.names), "names that differ, or full_feature_names")
    query = LookupQuery(entities, given, plan)
    _check_entities(query, views)
    if form.feature_service is None and not plan.computed and not with_views:
        remember_features(body, form.features, plan, planner, full=full)
    return query


def read_ids(body: bytes, key: str) -> list[str]:
    """Read the body of ``/v1/score/{model}``: the ids to score, for a model of the join key ``key``.

    Raises
    ------
    Rejected
        The body is not in the form of ``ScoreRequest``, or names another join key.
    """
    form = parse_body(body, ScoreRequest)
    if (form.entity is None) == (form.entities is None):
        raise Rejected("entities", "either entity or entities", "both" if form.entity else "neither")
    if form.entity is not None:
        return [form.entity]
    entities = form.entities or {}
    if set(entities) != {key}:
        raise Rejected("entities", f"the join key {key} alone", ascii(sorted(entities))[:200])
    return entities[key]


def find_model(models: Mapping[str, Scorer], name: str, field: str = "model") -> Scorer:
    """Return a served model.

    Raises
    ------
    UnknownName
        No champion of this name is served.
    """
    if name not in models:
        raise UnknownModel(field, f"one of {', '.join(sorted(models)) or 'no models yet'}", ascii(name[:100]))
    return models[name]


def _resolve(text: str, views: Views) -> tuple[Reference, str | Request]:
    """Read a reference; return it with its join key, or with the request that it is computed from."""
    if result := request_features.resolve_request_feature(text, views.catalogue):
        return result
    reference = views.resolve(text)
    return reference, views.by_name[reference.view].key


def _ids(key: str, values: list[JsonValue]) -> list[str]:
    try:
        return IDS.validate_python(values, strict=True)
    except ValidationError as error:
        raise first_error(error, "entities", key) from None


def _check_entities(query: LookupQuery, views: Views) -> None:
    plan = query.plan
    known = views.keys | plan.keys
    for key in query.entities:
        if key not in known:
            raise UnknownEntity(
                "entities", f"one of {', '.join(sorted(known | views.catalogue.request_inputs))}", ascii(key[:100])
            )
    for part in plan.parts:
        if part.key not in query.entities:
            raise Rejected("entities", f"values of {part.key}, which the features need", ascii(sorted(query.entities)))
    lengths = {len(ids) for ids in query.entities.values()} | {len(values) for values in query.inputs.values()}
    if len(lengths) > 1:
        raise Rejected("entities", "lists of one length", f"lengths {sorted(lengths)}")
    request_features.check_inputs(plan.computed.values(), query.inputs)


def _refuse_duplicates(field: str, names: list[str], expected: str) -> None:
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise Rejected(field, expected, f"{name!a} {times} times")
