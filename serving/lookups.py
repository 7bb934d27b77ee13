"""JSON Schemas of lookups: what a request for a view or a feature service may hold, and what its answer does.

Types come from the published views, meaning, bounds and emptiness from the catalogue, as far as it still has the view.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from features.catalogue import DECLARED
from features.spec import Expect, Feature, Group, Request
from serving.inputs import BY_NAME, MAX_TEXT
from serving.ladder import NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from serving.models import Model
from serving.schema import MAX_ENTITIES, MAX_NAME
from serving.views import Reference, Views
from validation.contracts import CONTRACTS, Column

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES = {"int64": "integer", "float64": "number", "string": "string"}
INPUT_TYPES = {"text": "string", "integer": "integer", "decimal": "number", "boolean": "boolean"}
TOLD: Mapping[str, Mapping[str, Feature]] = {
    view: {feature.name: feature for feature in one.outputs}
    for one in DECLARED
    for view in ([one.view, one.live_view] if isinstance(one, Group) else [one.view])
}
Schema = dict[str, Any]


def of_view(name: str, views: Views) -> Schema:
    """Return the schemas of a lookup of every feature of a view, group or request.

    Raises
    ------
    Unknown
        There is no such view.
    """
    if name in BY_NAME:
        request = BY_NAME[name]
        asked = [Reference(request.view, feature.name) for feature in request.outputs]
        return _lookup(request.view, asked, [], {"features": _these(map(str, asked))}, views)
    view = views.view(name)
    asked = [Reference(view.name, feature) for feature in TOLD.get(view.name, view.features)]
    return _lookup(view.name, asked, [view.key], {"features": _these(map(str, asked))}, views)


def of_service(model: Model, views: Views) -> Schema:
    """Return the schemas of a lookup of a feature service: everything that a model reads."""
    name = model.manifest.name
    key = views.key_of(model.manifest.entity)
    return _lookup(name, model.references, [key], {"feature_service": {"const": name}}, views)


def _lookup(name: str, asked: Iterable[Reference], keys: list[str], wanted: Schema, views: Views) -> Schema:
    asked = list(asked)
    requests = {BY_NAME[one.view].view: BY_NAME[one.view] for one in asked if one.view in BY_NAME}
    entities = {key: _ids() for key in keys} | {n: s for one in requests.values() for n, s in _inputs(one).items()}
    return {
        "name": name,
        "request": {
            "$schema": DIALECT,
            "type": "object",
            "properties": {"entities": _object(entities), **wanted},
            "required": ["entities", *wanted],
        },
        "answer": {
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "metadata": _object({"feature_names": _these([*keys, *(one.feature for one in asked)])}),
                "rapport": {"type": "object"},
                "results": _tuple(
                    [*(_column({"type": "string"}, computed=True) for _ in keys), *map(_of(views), asked)]
                ),
            },
            "required": ["metadata", "results", "rapport"],
        },
    }


def _of(views: Views) -> Any:
    def column(reference: Reference) -> Schema:
        feature = TOLD.get(reference.view, {}).get(reference.feature)
        computed = reference.view in BY_NAME
        dtype = feature.dtype if feature else views.by_name[reference.view].features[reference.feature]
        expect = feature.expect if feature else Expect()
        never_empty = computed and expect.filled == 1
        value: Schema = {"type": TYPES[dtype]} if never_empty else {"type": [TYPES[dtype], "null"]}
        value |= {"description": feature.meaning} if feature else {}
        value |= {
            word: bound for word, bound in (("minimum", expect.least), ("maximum", expect.most)) if bound is not None
        }
        return _column(value, computed=computed)

    return column


def _column(value: Schema, *, computed: bool) -> Schema:
    """Return the schema of one column of an answer; only what is looked up may not be found."""
    statuses = [PRESENT, NULL_VALUE] if computed else [PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE]
    parts = {
        "values": value,
        "statuses": {"enum": statuses},
        "event_timestamps": {"type": "string", "format": "date-time"},
    }
    return _object({name: {"type": "array", "items": items} for name, items in parts.items()})


def _inputs(request: Request) -> dict[str, Schema]:
    columns = {column.name: column for column in CONTRACTS[request.fact].all_columns}
    return {name: _list(_input(columns[name])) for name in request.inputs}


def _input(column: Column) -> Schema:
    """Return the schema of an input of a request: what the gate would let in."""
    kind = INPUT_TYPES[column.type]
    said: Schema = {"type": kind if column.required else [kind, "null"], "description": column.meaning}
    if column.type == "text":
        said |= {"maxLength": MAX_TEXT} | ({"minLength": 1} if column.required else {})
    if column.allowed:
        said["enum"] = [*column.allowed, *([] if column.required else [None, ""])]
    if column.pattern:
        said["pattern"] = f"^(?:{column.pattern})$"
    return said | {word: end for word, end in (("minimum", column.least), ("maximum", column.most)) if end is not None}


def _ids() -> Schema:
    return _list({"type": "string", "minLength": 1, "maxLength": MAX_NAME})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_ENTITIES}


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _tuple(items: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def _these(names: Iterable[str]) -> Schema:
    return {"const": list(names)}
