"""Features of the request itself: what the caller gives is checked by the contract of the fact that will log it.

No lookup is needed; the expressions are those of the catalogue, which training reads the logged request with.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from features.compute.evaluate import RowValue
from features.compute.inputs import request_features
from features.declare.catalogue import Catalogue
from features.declare.request import Request
from features.declare.terms import Value
from rapport_feast.errors import Rejected
from serving.errors import UnknownFeature
from serving.lookup.views import Reference
from validation.contracts.language import Column

MAX_TEXT = 20_000
TYPE_NAMES = {"text": "a text", "integer": "a whole number", "decimal": "a number", "boolean": "true or false"}
INT64_BOUND = 1 << 63


def resolve_request_feature(reference: str, catalogue: Catalogue) -> tuple[Reference, Request] | None:
    """Read ``<request>:<feature>``; None where the part before the colon names no request.

    Raises
    ------
    UnknownFeature
        The request has no such feature.
    """
    name, _, feature = reference.partition(":")
    request = catalogue.request_views.get(name)
    if request is None:
        return None
    if feature not in {request.name for request in request.outputs}:
        raise UnknownFeature("features", f"a feature of {request.view}", ascii(feature[:100]))
    return Reference(request.view, feature), request


def check_inputs(requests: Iterable[Request], given: Mapping[str, Sequence[RowValue]]) -> None:
    """Refuse inputs that are missing, or that the gate would not let in.

    Raises
    ------
    Rejected
        An input is not given, or a value breaks the contract.
    """
    for request in {request.view: request for request in requests}.values():
        columns = {column.name: column for column in request.contract.all_columns}
        for name in request.inputs:
            if name not in given:
                raise Rejected(
                    f"entities.{name}", f"values of {name}, which {request.name} is computed from", ascii(sorted(given))
                )
            for place, value in enumerate(given[name]):
                _check_value(f"entities.{name}.{place}", columns[name], value)


def compute_request_features(
    requested: Mapping[Reference, Request], given: Mapping[str, Sequence[RowValue]]
) -> dict[Reference, list[Value | None]]:
    """Return the values of features of requests, one per row."""
    rows_by_view: dict[str, list[Mapping[str, Value | None]]] = {}
    for request in {request.view: request for request in requested.values()}.values():
        rows = zip(*(given[name] for name in request.inputs), strict=True)
        rows_by_view[request.view] = [
            request_features(request, dict(zip(request.inputs, row, strict=True))) for row in rows
        ]
    return {
        reference: [row[reference.feature] for row in rows_by_view[request.view]]
        for reference, request in requested.items()
    }


def _check_value(where: str, column: Column, value: object) -> None:
    if value is None or value == "":
        if column.required:
            raise Rejected(where, "a value", "none")
        return
    shown = ascii(value) if len(ascii(value)) <= 80 else f"{ascii(value)[:80]}..."
    if not _has_type(column.type, value):
        raise Rejected(where, TYPE_NAMES[column.type], shown)
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise Rejected(where, f"at most {MAX_TEXT} characters", str(len(value)))
        if column.allowed and value not in column.allowed:
            raise Rejected(where, f"one of {', '.join(column.allowed)}", shown)
        if column.pattern and not re.fullmatch(column.pattern, value):
            raise Rejected(where, f"a text that matches {column.pattern}", shown)
    elif isinstance(value, int | float):
        least = column.least if column.least is not None else -INT64_BOUND
        most = column.most if column.most is not None else INT64_BOUND - 1
        if not least <= value <= most:
            raise Rejected(where, f"{least} to {most}", shown)


def _has_type(kind: str, value: object) -> bool:
    match kind:
        case "text":
            # Half of a surrogate pair is JSON, but no text.
            return isinstance(value, str) and value == value.encode(errors="ignore").decode()
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "decimal":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, bool)
