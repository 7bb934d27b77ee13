"""Reads requests: bytes to JSON to a checked form to references that exist; each fault is one clear sentence."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from features.spec import Request
from infra.errors import Rejected
from serving import inputs
from serving.models import Model
from serving.plans import Plan, Planner
from serving.schema import MAX_BODY_BYTES, MAX_ENTITIES, MAX_NAME, Body, FeaturesRequest, Ids, Plain, ScoreRequest
from serving.views import Reference, Unknown, Views

Form = TypeVar("Form", bound=Body)
IDS = TypeAdapter(Ids)


class Malformed(Rejected):
    """A body that is no JSON object."""


class TooLarge(Rejected):
    """A body beyond the limit."""

    def __init__(self) -> None:
        super().__init__("body", f"at most {MAX_BODY_BYTES} bytes", "more")


class Wanted(NamedTuple):
    """A feature request whose every name exists.

    Attributes
    ----------
    entities
        Join key = ids.
    inputs
        Input of the request itself = values.
    plan
        Its features, and how they are read.
    """

    entities: Mapping[str, list[str]]
    inputs: Mapping[str, list[Plain]]
    plan: Plan


def read_features(body: bytes, planner: Planner, models: Callable[[], Mapping[str, Model]]) -> Wanted:
    """Read the body of ``/get-online-features``; the models are asked for only if it names a feature service.

    Raises
    ------
    Rejected
        The body is not in the form of ``FeaturesRequest`` (``Malformed`` if it is no JSON object), or lacks an entity
        or an input that the features need.
    Unknown
        There is no such view, feature, feature service or entity.
    """
    return _read_again(body, planner) or _read_first(body, planner, models)


def _read_again(body: bytes, planner: Planner) -> Wanted | None:
    """Read a plain request for a list of features that was asked for before; None for any other, faulty ones too.

    The list is known by its bytes, and only the rest is parsed. In a body without escapes each colon is one between a
    key and its value, or stands in a text that was read: one more, and a key stands twice.
    """
    if len(body) > MAX_BODY_BYTES or b"\\" in body:
        return None
    begin, end = _features_in(body)
    if begin < 0:
        return None
    rest = body[:begin] + b'"features":0' + body[end:]
    try:
        content = orjson.loads(rest)
        entities, full = content["entities"], content.get("full_feature_names", False)
        if content["features"] != 0 or len(content) != 2 + ("full_feature_names" in content) or type(full) is not bool:
            return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    plan = planner.known(body[begin:end], full_names=full)
    if plan is None or type(entities) is not dict or entities.keys() != plan.keys or not _are_ids(entities):
        return None
    colons = len(content) + len(entities) + "".join(entities).count(":")
    for ids in entities.values():
        colons += "".join(ids).count(":")
    return Wanted(entities, {}, plan) if rest.count(b":") == colons else None


def _features_in(body: bytes) -> tuple[int, int]:
    """Return where the key ``features`` and its list stand, if they do."""
    begin = body.find(b'"features"')
    return begin, body.find(b"]", begin) + 1


def _learn(body: bytes, features: list[str], plan: Plan, planner: Planner, *, full: bool) -> None:
    """Remember the bytes of a list of features, if they are just that."""
    begin, end = _features_in(body)
    told = body[begin:end]
    try:
        if begin >= 0 and b"\\" not in told and orjson.loads(b"{%b}" % told) == {"features": features}:
            planner.learn(told, plan, full_names=full)
    except ValueError:
        return


def _are_ids(entities: Mapping[str, Any]) -> bool:
    """Say whether every list holds ids, and all lists equally many."""
    lengths = set()
    for ids in entities.values():
        if type(ids) is not list or not 0 < len(ids) <= MAX_ENTITIES:
            return False
        for one in ids:
            if type(one) is not str or not 0 < len(one) <= MAX_NAME:
                return False
        lengths.add(len(ids))
    return len(lengths) == 1


def _read_first(body: bytes, planner: Planner, models: Callable[[], Mapping[str, Model]]) -> Wanted:
    form, views = _read(body, FeaturesRequest), planner.views
    if form.feature_service is not None:
        model = find_model(models(), form.feature_service, "feature_service")
        references: dict[Reference, str | Request] = dict.fromkeys(
            model.references, views.key_of(model.manifest.entity)
        )
    elif form.features:
        resolved = [_resolve(text, views) for text in form.features]
        _refuse_twice("features", [str(reference) for reference, _ in resolved], "each feature once")
        references = dict(resolved)
    else:
        raise Rejected("features", "at least one feature or a feature_service", "neither")
    full, with_views = form.full_feature_names, form.include_feature_view_version_metadata
    entities = {key: _ids(key, values) for key, values in form.entities.items() if key not in inputs.INPUTS}
    given = {key: values for key, values in form.entities.items() if key in inputs.INPUTS}
    plan = planner.plan(references, full_names=full, with_views=with_views)
    _refuse_twice("features", list(plan.names), "names that differ, or full_feature_names")
    wanted = Wanted(entities, given, plan)
    _check_entities(wanted, views)
    if form.feature_service is None and not plan.computed and not with_views:
        _learn(body, form.features, plan, planner, full=full)
    return wanted


def read_ids(body: bytes, key: str) -> list[str]:
    """Read the body of ``/v1/score/{model}``: the ids to score, for a model of the join key ``key``.

    Raises
    ------
    Rejected
        The body is not in the form of ``ScoreRequest``, or names another join key.
    """
    form = _read(body, ScoreRequest)
    if (form.entity is None) == (form.entities is None):
        raise Rejected("entities", "either entity or entities", "both" if form.entity else "neither")
    if form.entity is not None:
        return [form.entity]
    entities = form.entities or {}
    if set(entities) != {key}:
        raise Rejected("entities", f"the join key {key} alone", ascii(sorted(entities))[:200])
    return entities[key]


def find_model(models: Mapping[str, Model], name: str, field: str = "model") -> Model:
    """Return a served model.

    Raises
    ------
    Unknown
        No champion of this name is served.
    """
    if name not in models:
        raise Unknown(field, f"one of {', '.join(sorted(models)) or 'no models yet'}", ascii(name[:100]))
    return models[name]


def _resolve(text: str, views: Views) -> tuple[Reference, str | Request]:
    """Read a reference; return it with its join key, or with the request that it is computed from."""
    if found := inputs.resolve(text):
        return found
    reference = views.resolve(text)
    return reference, views.by_name[reference.view].key


def _ids(key: str, values: list[Plain]) -> list[str]:
    try:
        return IDS.validate_python(values, strict=True)
    except ValidationError as error:
        raise _first(error, "entities", key) from None


def _check_entities(wanted: Wanted, views: Views) -> None:
    plan = wanted.plan
    known = views.keys | plan.keys
    for key in wanted.entities:
        if key not in known:
            raise Unknown("entities", f"one of {', '.join(sorted(known | inputs.INPUTS))}", ascii(key[:100]))
    for part in plan.parts:
        if part.key not in wanted.entities:
            raise Rejected("entities", f"values of {part.key}, which the features need", ascii(sorted(wanted.entities)))
    lengths = {len(ids) for ids in wanted.entities.values()} | {len(values) for values in wanted.inputs.values()}
    if len(lengths) > 1:
        raise Rejected("entities", "lists of one length", f"lengths {sorted(lengths)}")
    inputs.refuse_inputs(plan.computed.values(), wanted.inputs)


def _refuse_twice(field: str, names: list[str], expected: str) -> None:
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise Rejected(field, expected, f"{name!a} {times} times")


def _read(body: bytes, form: type[Form]) -> Form:
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge
    try:
        content = json.loads(body, parse_constant=_no_number, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise Malformed("body", "a JSON object", "one nested too deeply") from None
    except ValueError as error:
        raise Malformed("body", "a JSON object", f"something else ({ascii(str(error)[:200])[1:-1]})") from None
    if not isinstance(content, dict):
        raise Malformed("body", "a JSON object", f"a JSON {type(content).__name__}")
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise _first(error) from None


def _first(error: ValidationError, *within: str) -> Rejected:
    """Return the first fault as field, expected, found."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(ascii(str(part)[:100])[1:-1] for part in (*within, *fault["loc"]) if part != "[key]")
    expected = fault["msg"].removeprefix("Input should be ").removeprefix("Input should have ")
    found = "none" if fault["type"] == "missing" else ascii(fault["input"])
    if fault["type"] == "extra_forbidden":
        expected = "no such key"
    return Rejected(
        where or "body", expected[:1].lower() + expected[1:], found if len(found) <= 80 else f"{found[:80]}..."
    )


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} stands twice")
    return content
