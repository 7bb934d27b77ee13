"""Reads requests: bytes to JSON to a checked form to references that exist; each fault is one clear sentence."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from features.spec import Request
from infra.errors import Rejected
from serving import inputs
from serving.models import Model
from serving.schema import MAX_BODY_BYTES, Body, FeaturesRequest, Ids, Plain, ScoreRequest
from serving.views import Reference, Unknown, Views

Form = TypeVar("Form", bound=Body)
IDS = TypeAdapter(Ids)


class Malformed(Rejected):
    """A body that is no JSON object."""


class TooLarge(Rejected):
    """A body beyond the limit."""

    def __init__(self) -> None:
        super().__init__("body", f"at most {MAX_BODY_BYTES} bytes", "more")


@dataclass(frozen=True)
class Wanted:
    """A feature request whose every name exists: references in the order asked, each with where its values are.

    Attributes
    ----------
    entities
        Join key = ids.
    inputs
        Input of the request itself = values.
    references
        A stored feature with its join key, one of the request with its definition.
    """

    entities: Mapping[str, list[str]]
    inputs: Mapping[str, list[Plain]]
    references: Mapping[Reference, str | Request]
    full_names: bool
    with_views: bool

    @property
    def stored(self) -> dict[Reference, str]:
        """The features that are read from the store, each with its join key."""
        return {reference: where for reference, where in self.references.items() if isinstance(where, str)}

    @property
    def computed(self) -> dict[Reference, Request]:
        """The features that are computed from the request, each with its definition."""
        return {reference: where for reference, where in self.references.items() if isinstance(where, Request)}

    def name_of(self, reference: Reference) -> str:
        """Return the name under which a feature is answered."""
        return f"{reference.view}__{reference.feature}" if self.full_names else reference.feature


def read_features(body: bytes, views: Views, models: Callable[[], Mapping[str, Model]]) -> Wanted:
    """Read the body of ``/get-online-features``; the models are asked for only if it names a feature service.

    Raises
    ------
    Rejected
        The body is not in the form of ``FeaturesRequest`` (``Malformed`` if it is no JSON object), or lacks an entity
        or an input that the features need.
    Unknown
        There is no such view, feature, feature service or entity.
    """
    form = _read(body, FeaturesRequest)
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
    entities = {key: _ids(key, values) for key, values in form.entities.items() if key not in inputs.INPUTS}
    given = {key: values for key, values in form.entities.items() if key in inputs.INPUTS}
    wanted = Wanted(entities, given, references, form.full_feature_names, form.include_feature_view_version_metadata)
    _refuse_twice(
        "features", [wanted.name_of(reference) for reference in references], "names that differ, or full_feature_names"
    )
    _check_entities(wanted, views)
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
    keys = dict.fromkeys(wanted.stored.values())
    known = {view.key for view in views.by_name.values()} | keys.keys()
    for key in wanted.entities:
        if key not in known:
            raise Unknown("entities", f"one of {', '.join(sorted(known | inputs.INPUTS))}", ascii(key[:100]))
    for key in keys:
        if key not in wanted.entities:
            raise Rejected("entities", f"values of {key}, which the features need", ascii(sorted(wanted.entities)))
    lengths = {len(ids) for ids in wanted.entities.values()} | {len(values) for values in wanted.inputs.values()}
    if len(lengths) > 1:
        raise Rejected("entities", "lists of one length", f"lengths {sorted(lengths)}")
    inputs.refuse_inputs(wanted.computed.values(), wanted.inputs)


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
