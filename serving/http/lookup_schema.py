"""JSON Schemas of lookups: what a request for a view or a feature service may hold, and what its answer does.

Types come from the published views, meaning, bounds and emptiness from the catalogue, as far as it still has the view.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from features.declare.measure import Expect
from features.declare.request import Request
from infra.models.scorer import Scorer
from serving.forms.base import MAX_ENTITIES, MAX_NAME
from serving.lookup.outcome import NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from serving.lookup.request_features import MAX_TEXT
from serving.lookup.views import Reference, Views
from serving.score.references import references_of
from validation.contracts.language import Column

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES = {"int64": "integer", "float64": "number", "string": "string"}
INPUT_TYPES = {"text": "string", "integer": "integer", "decimal": "number", "boolean": "boolean"}
Schema = dict[str, Any]


def view_schema(name: str, views: Views) -> Schema:
    """Return the schemas of a lookup of every feature of a view, group or request.

    Raises
    ------
    UnknownView
        There is no such view.
    """
    if name in views.catalogue.request_views:
        request = views.catalogue.request_views[name]
        references = [Reference(request.view, feature.name) for feature in request.outputs]
        return _lookup(request.view, references, [], {"features": _const(map(str, references))}, views)
    view = views.view(name)
    references = [Reference(view.name, feature) for feature in views.catalogue.features.get(view.name, view.features)]
    return _lookup(view.name, references, [view.key], {"features": _const(map(str, references))}, views)


def service_schema(model: Scorer, views: Views) -> Schema:
    """Return the schemas of a lookup of a feature service: everything that a model reads."""
    name = model.manifest.name
    key = views.key_of(model.manifest.entity)
    return _lookup(name, references_of(model), [key], {"feature_service": {"const": name}}, views)


def _lookup(name: str, references: Iterable[Reference], keys: list[str], selection: Schema, views: Views) -> Schema:
    references = list(references)
    known = views.catalogue.request_views
    requests = {known[one.view].view: known[one.view] for one in references if one.view in known}
    entities = {key: _ids() for key in keys} | {
        n: s for reference in requests.values() for n, s in _inputs(reference).items()
    }
    return {
        "name": name,
        "request": {
            "$schema": DIALECT,
            "type": "object",
            "properties": {"entities": _object(entities), **selection},
            "required": ["entities", *selection],
        },
        "answer": {
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "metadata": _object(
                    {"feature_names": _const([*keys, *(reference.feature for reference in references)])}
                ),
                "rapport": {"type": "object"},
                "results": _tuple(
                    [*(_column({"type": "string"}, computed=True) for _ in keys), *map(_column_of(views), references)]
                ),
            },
            "required": ["metadata", "results", "rapport"],
        },
    }


def _column_of(views: Views) -> Any:
    def column(reference: Reference) -> Schema:
        feature = views.catalogue.features.get(reference.view, {}).get(reference.feature)
        computed = reference.view in views.catalogue.request_views
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
    columns = {column.name: column for column in request.contract.all_columns}
    return {name: _list(_input(columns[name])) for name in request.inputs}


def _input(column: Column) -> Schema:
    """Return the schema of an input of a request: what the gate would let in."""
    kind = INPUT_TYPES[column.type]
    schema: Schema = {"type": kind if column.required else [kind, "null"], "description": column.meaning}
    if column.type == "text":
        schema |= {"maxLength": MAX_TEXT} | ({"minLength": 1} if column.required else {})
    if column.allowed:
        schema["enum"] = [*column.allowed, *([] if column.required else [None, ""])]
    if column.pattern:
        schema["pattern"] = f"^(?:{column.pattern})$"
    return schema | {
        word: end for word, end in (("minimum", column.least), ("maximum", column.most)) if end is not None
    }


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


def _const(names: Iterable[str]) -> Schema:
    return {"const": list(names)}
