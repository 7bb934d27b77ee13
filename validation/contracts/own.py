"""Facts and columns that a company declares of its own, as data: ``facts/<fact>.toml`` in its folder."""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, ValidationError

from infra.company.company import Company
from infra.company.folder import Declaration, Folder
from infra.company.source import Section, Source
from rapport_feast.errors import Rejected
from validation.contracts.language import COMMON, Column, Contract, Rule, Type
from validation.contracts.reserved import RESERVED_COLUMNS, RESERVED_FACTS
from validation.contracts.standard import CONTRACTS

NAME = r"^[a-z][a-z0-9_]*$"
Contracts = Mapping[str, Contract]


class OwnColumn(Section):
    """A column in a company's file; the keys are those of ``language.Column``."""

    name: str = Field(pattern=NAME)
    type: Type
    meaning: str = Field(min_length=1)
    required: bool = False
    allowed: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    masked: bool = False
    hindsight: bool = False


class OwnRule(Section):
    """A rule in a company's file; the keys are those of ``language.Rule``."""

    name: str = Field(pattern=NAME)
    kind: Literal["not_after", "not_negative", "given_when"]
    columns: tuple[str, str]
    words: tuple[str, ...] = ()


class OwnFact(Section):
    """A file of ``facts/``: columns for a fact of ours, or a fact of the company's own."""

    meaning: str = ""
    anonymous: bool = False
    columns: tuple[OwnColumn, ...] = Field(min_length=1)
    rules: tuple[OwnRule, ...] = ()


def contracts_of(company: Company) -> Contracts:
    """Return the contracts of a company by fact: ours, with its own columns and facts.

    Raises
    ------
    Rejected
        A declaration is wrong.
    """
    return contracts_in(company.folder)


def contract_of(source: Source) -> Contract:
    """Return the contract of the fact that a source feeds.

    Raises
    ------
    Rejected
        There is no such fact.
    """
    contracts = contracts_in(source.folder)
    if source.fact not in contracts:
        raise Rejected(f"source {source.name}, fact", f"one of {', '.join(contracts)}", source.fact)
    return contracts[source.fact]


@lru_cache
def contracts_in(folder: Folder | None) -> Contracts:
    """Return the contracts of the company in a folder; those of Rapport where there is none."""
    if folder is None or not folder.of("facts"):
        return CONTRACTS
    return MappingProxyType({**CONTRACTS, **{one.name: _contract(one) for one in folder.of("facts")}})


def _contract(declaration: Declaration) -> Contract:
    said = _read(declaration)
    ours = CONTRACTS.get(declaration.name)
    if ours is None:
        _refuse_fact(declaration, said)
    elif said.meaning or "anonymous" in said.model_fields_set:
        raise Rejected(declaration.shown, f"columns and rules only, for {ours.fact} is a fact of ours", "its meaning")
    base = ours or Contract(declaration.name, said.meaning, (), (), said.anonymous)
    columns = tuple(Column(**dict(one)) for one in said.columns)
    rules = tuple(Rule(**dict(one)) for one in said.rules)
    for column in columns:
        _refuse_column(declaration, column, base)
    found = Contract(base.fact, base.meaning, (*base.columns, *columns), (*base.rules, *rules), base.anonymous)
    _refuse_twice(declaration, [column.name for column in found.all_columns])
    _refuse_twice(declaration, [rule.name for rule in found.all_rules])
    for rule in rules:
        _refuse_rule(declaration, rule, found)
    return found


def _read(declaration: Declaration) -> OwnFact:
    try:
        return OwnFact.model_validate(tomllib.loads(declaration.path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Rejected(declaration.shown, "valid TOML", str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Rejected(f"{declaration.shown}, {where}", "a valid entry", first["msg"]) from None


def _refuse_fact(declaration: Declaration, said: OwnFact) -> None:
    if declaration.name in RESERVED_FACTS:
        raise Rejected(declaration.shown, "a name that is not taken", declaration.name)
    if not said.meaning:
        raise Rejected(f"{declaration.shown}, meaning", "one line that says what a row is", "none")


def _refuse_column(declaration: Declaration, column: Column, base: Contract) -> None:
    if column.name in RESERVED_COLUMNS:
        raise Rejected(f"{declaration.shown}, columns", "names that are not taken", column.name)
    if column.required and base.fact in CONTRACTS:
        remedy = "Rows of before it was declared do not have it."
        raise Rejected(f"{declaration.shown}, {column.name}", "a column that may be empty", "required", remedy)
    if column.masked and column.type != "text":
        raise Rejected(f"{declaration.shown}, {column.name}", "masks on texts only", column.type)
    bounds: dict[str, Any] = {"least": column.least, "most": column.most}
    bounded = any(bound is not None for bound in bounds.values())
    words = bool(column.allowed or column.pattern)
    if (bounded and column.type not in ("integer", "decimal")) or (words and column.type != "text"):
        wanted = "least and most on numbers, allowed and pattern on texts"
        raise Rejected(f"{declaration.shown}, {column.name}", wanted, column.type)
    if column.pattern:
        _refuse_pattern(declaration, column)


def _refuse_pattern(declaration: Declaration, column: Column) -> None:
    import re

    try:
        re.compile(column.pattern)
    except re.error as error:
        raise Rejected(f"{declaration.shown}, {column.name}", "a regular expression", str(error)) from None


def _refuse_rule(declaration: Declaration, rule: Rule, contract: Contract) -> None:
    types = {column.name: column.type for column in (*contract.all_columns, *COMMON)}
    where = f"{declaration.shown}, rule {rule.name}"
    for name in rule.columns:
        if name not in types:
            raise Rejected(where, f"columns of {contract.fact}: {', '.join(types)}", name)
    if bool(rule.words) != (rule.kind != "not_after"):
        raise Rejected(where, "words for every kind but not_after", rule.kind)


def _refuse_twice(declaration: Declaration, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Rejected(declaration.shown, "every name once", twice[0])
