"""JSON Schema of the events of a streamed source, from its contract and its mapping: for those who write senders.

What the door accepts is valid by it. Rules between columns, and what no schema can say (that there is no 30 February),
only the door knows.
"""

from typing import Any

from infra.company.source import Source
from validation.contracts.language import Column
from validation.contracts.own import contract_of
from validation.contracts.parse import FALSE, NUMBER, TIME, TRUE, WHOLE

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def event_schema(source: Source) -> Schema:
    """Return the JSON Schema of one event of a source; other keys than these are kept and read by nobody."""
    contract = contract_of(source)
    by_key: dict[str, list[Schema]] = {}
    for column in contract.all_columns:
        if (key := source.columns.get(column.name)) is not None:
            by_key.setdefault(key, []).append(of_column(column, source.values.get(column.name, {})))
    required = {source.columns.get(column.name) for column in contract.all_columns if column.required}
    return {
        "$schema": DIALECT,
        "title": source.name,
        "description": contract.meaning,
        "type": "object",
        "properties": {key: found[0] if len(found) == 1 else {"allOf": found} for key, found in by_key.items()},
        "required": sorted(key for key in required if key),
    }


def of_column(column: Column, words: dict[str, str]) -> Schema:
    """Return the schema of what may stand for a column; ``words`` are the source's own for some of ours."""
    value = of_value(column, words)
    about = {"description": column.meaning}
    return about | (value if column.required else {"anyOf": [value, {"enum": [None, ""]}]})


def of_value(column: Column, words: dict[str, str]) -> Schema:
    """Return the schema of a value: numbers and words may also come as text."""
    if column.allowed:
        own = [word for word, ours in words.items() if ours in column.allowed]
        return {"enum": [*(word for word in column.allowed if word not in words), *own]}
    if column.type == "boolean":
        return {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, text(f"(?i:{'|'.join((*TRUE, *FALSE))})")]}
    if column.type == "time":
        return text(TIME)
    if column.type in ("integer", "decimal"):
        bounds = {"minimum": column.least, "maximum": column.most}
        number: Schema = {"type": "integer" if column.type == "integer" else "number"}
        number |= {name: bound for name, bound in bounds.items() if bound is not None}
        return {"anyOf": [number, text(WHOLE if column.type == "integer" else NUMBER)]}
    if words:
        return {"type": ["string", "number", "boolean", "object", "array"], "minLength": 1}
    return (
        text(column.pattern)
        if column.pattern
        else {"type": ["string", "number", "boolean", "object", "array"], "minLength": 1}
    )


def text(pattern: str) -> Schema:
    """Return the schema of a text that matches a pattern from its start to its end."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}
