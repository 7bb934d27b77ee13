"""The inputs of a request, normalised as the gate would, and the features computed from them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from features.compute.evaluate import RowValue, evaluate
from features.declare.expression_types import DType
from features.declare.request import Request
from features.declare.terms import Value
from validation.contracts.language import Contract
from validation.contracts.masks import mask

PYTHON_TYPES: Mapping[DType, Callable[[Any], Value]] = MappingProxyType({"int64": int, "float64": float, "string": str})


def normalise_inputs(request: Request, inputs: Mapping[str, RowValue]) -> dict[str, RowValue]:
    """Return the inputs of a request as the gate would let them in: masked where the contract says so, empty is none.

    Training reads the logged request from silver, so serving must compute from the same text.
    """
    return normalise_columns(request.contract, {name: inputs[name] for name in request.inputs})


def normalise_columns(contract: Contract, columns: Mapping[str, RowValue]) -> dict[str, RowValue]:
    """Return columns of a fact as the gate would let them in: masked where the contract says so, empty is none."""
    masked = {column.name for column in contract.all_columns if column.masked}
    return {
        name: None if value == "" else mask(value) if name in masked and isinstance(value, str) else value
        for name, value in columns.items()
    }


def request_features(request: Request, inputs: Mapping[str, RowValue]) -> dict[str, Value | None]:
    """Return every feature of a request from its inputs, as the caller gave them."""
    row = normalise_inputs(request, inputs)
    typed = {feature.name: PYTHON_TYPES[feature.dtype] for feature in request.outputs}
    for one in request.ordered:
        value = evaluate(one.value, row)
        value = one.empty if value is None else value
        row[one.name] = None if value is None else typed[one.name](value)
    return {feature.name: row[feature.name] for feature in request.outputs}  # type: ignore[misc]
