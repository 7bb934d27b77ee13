"""The gate's verdicts in SQL: the contract's rules, made from the same data as the Great Expectations suite."""

from collections.abc import Iterator

from infra.company.source import Source
from rapport_feast.sql import literal, quoted
from validation.contracts.language import Column, Contract, Rule
from validation.contracts.own import contract_of
from validation.contracts.parse import parsed_sql
from validation.contracts.silver import silver_columns
from validation.sources.catalogue import adapter
from validation.sources.log import raw_schema
from validation.sources.typed_rows import typed_rows


def verdicts_sql(source: Source, entries: str) -> str:
    """Return SQL of silver's columns and ``_reason``, empty where a row is accepted, of the raw rows of a table."""
    contract, names = contract_of(source), raw_schema(source).names
    moment = parsed_sql("time", adapter(source).available(source))
    parsed = typed_rows(contract, source, "stamped", names)
    checks = ", ".join(f"CASE WHEN {broken} THEN {literal(reason)} END" for reason, broken in broken_rules(contract))
    return f"""
        WITH stamped AS (SELECT *, {moment} AS _ingested_at, ({moment})::DATE AS known_day FROM {entries}),
        parsed AS ({parsed}),
        judged AS (SELECT *, list_transform(_unparsable, lambda name: 'unparsable:' || name) AS _unread,
            list_filter([{checks}]::VARCHAR[], lambda reason: reason IS NOT NULL
                AND NOT list_contains(_unparsable, replace(reason, 'missing:', ''))) AS _broken FROM parsed)
        SELECT {", ".join(silver_columns(contract))}, array_to_string(list_sort(list_concat(_unread,
            CASE WHEN len(list_filter(_unparsable, lambda name: starts_with(name, 'row'))) = 0 THEN _broken END)), ';')
            AS _reason
        FROM judged ORDER BY _row"""


def broken_rules(contract: Contract) -> Iterator[tuple[str, str]]:
    """Yield the reason of every rule of a contract with SQL that is true where a row breaks it.

    Examples
    --------
    >>> from validation.contracts.decisions import OUTCOMES
    >>> dict(broken_rules(OUTCOMES))["missing:value"]
    '"value" IS NULL'
    """
    for column in contract.all_columns:
        yield from broken_column(column)
    for rule in contract.all_rules:
        yield rule.name, broken_rule(rule)


def broken_column(column: Column) -> Iterator[tuple[str, str]]:
    """Yield reason and SQL of every rule of a column."""
    name = quoted(column.name)
    if column.required:
        yield f"missing:{column.name}", f"{name} IS NULL"
    if column.allowed:
        yield f"unknown:{column.name}", f"{name} NOT IN ({', '.join(map(literal, column.allowed))})"
    if column.pattern:
        yield f"form:{column.name}", f"NOT regexp_full_match({name}, {literal(column.pattern)})"
    bounds = [f"{name} < {column.least!r}"] if column.least is not None else []
    bounds += [f"{name} > {column.most!r}"] if column.most is not None else []
    if bounds:
        yield f"range:{column.name}", " OR ".join(bounds)


def broken_rule(rule: Rule) -> str:
    """Return SQL that is true where a row breaks a rule between columns."""
    first, second = map(quoted, rule.columns)
    where = f"{second} IN ({', '.join(map(literal, rule.words))})"
    if rule.kind == "given_when":
        return f"{first} IS NULL AND {where}"
    if rule.kind == "not_negative":
        return f"{first} < 0 AND {where}"
    return f"{first} > {second}"
