"""The catalogue's page in the documentation, made of the declarations alone: ``rapport feature docs`` writes it."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from features.declare import word_lists
from features.declare.catalogue import Catalogue
from features.declare.feature import Derived, Feature
from features.declare.group import Group
from features.declare.measure import Expect, Measure
from features.declare.request import Request
from features.declare.terms import Col, Expression, Operand, Value, col
from validation.contracts.language import Column, Contract
from validation.contracts.standard import CONTRACTS

HEAD = """# The catalogue

Made of `features/catalogue/` by `rapport feature docs`; a test keeps it in step. {count} features in {groups} groups
over {facts} facts, and {computed} of the request itself. Windows end at the moment asked about: those up to 24 hours
are exact, longer ones begin on a whole hop. *Empty* is a true value over no rows; *default* is what is served where
nothing was ever computed. A changed definition gets a new version beside the old one.
"""
INFIX: frozenset[str] = frozenset({"==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "and", "or"})
METHODS: frozenset[str] = frozenset({"length", "words", "hour", "weekday", "matches"})
LISTS = {pattern: name for name, pattern in vars(word_lists).items() if name.isupper() and isinstance(pattern, str)}
TEXT, FRUSTRATION = col("text"), "frustration(text)"
KINDS: Mapping[str, str] = {"since": "time since", "age": "time since first"}


def page(catalogue: Catalogue) -> str:
    """Return the page as Markdown."""
    head = HEAD.format(
        count=sum(len(group.outputs) for group in catalogue.groups),
        groups=len(catalogue.groups),
        facts=len({group.fact for group in catalogue.groups}),
        computed=sum(len(request.outputs) for request in catalogue.requests),
    )
    overview = _table(
        ("group", "about", "features", "served"),
        ((f"[{g.name}](#{g.name})", g.entity.name, str(len(g.outputs)), g.served) for g in catalogue.groups),
    )
    sections = [*map(_group, catalogue.groups), *map(_request, catalogue.requests)]
    parts = [head, overview, *sections, *map(_own_fact, _own_facts(catalogue)), _word_lists()]
    return "\n".join(parts)


def _own_facts(catalogue: Catalogue) -> list[Contract]:
    """Return the facts of the company's own, and those of ours that have columns of its own."""
    contracts = {name: contract for one in catalogue.groups for name, contract in one.contracts.items()}
    return [contract for name, contract in contracts.items() if contract != CONTRACTS.get(name)]


def _own_fact(contract: Contract) -> str:
    ours = CONTRACTS.get(contract.fact)
    columns = [column for column in contract.columns if ours is None or column not in ours.columns]
    rows = ((f"`{c.name}`", c.type, c.meaning, _marks(c)) for c in columns)
    what = contract.meaning if ours is None else f"{contract.meaning}; columns of the company's own"
    return f"\n## Fact {contract.fact}\n\n{what}\n\n{_table(('column', 'type', 'meaning', 'rules'), rows)}"


def _marks(column: Column) -> str:
    bounds = _expected(Expect(column.least, column.most))
    flags = [name for name in ("required", "masked", "hindsight") if getattr(column, name)]
    words = [f"one of {', '.join(column.allowed)}"] if column.allowed else []
    return ", ".join([*flags, *words, *([bounds] if bounds else [])])


def _group(group: Group) -> str:
    fact = group.contract
    entries = {
        "about": f"{group.entity.name}, key `{group.entity.key}`"
        + (", by identity links" if group.entity.linked else ""),
        "reads": f"`{group.fact}`: {fact.meaning}"
        + (f"; where {_code(group.where)}" if group.where is not None else ""),
        "served": group.served
        + (f"; a fact counts {group.live_lag} after it is known" if group.served == "live" else ""),
        "windows": ", ".join(dict.fromkeys(window for measure in group.measures for window in measure.windows)),
        "hop": group.hop,
        "stale after": _hours(group.freshness),
        **_ownership(group),
    }
    rows = [_row(feature, *_measured(group, feature.name)) for feature in group.outputs]
    return _section(group, entries, rows)


def _request(request: Request) -> str:
    entries = {
        "about": "the request itself, in training the logged one",
        "takes": ", ".join(f"`{name}`" for name in request.inputs),
        "logged as": f"`{request.fact}`" + (f" where {_code(request.where)}" if request.where is not None else ""),
        **_ownership(request),
    }
    derived = {one.name: one for one in request.derived}
    rows = [_row(feature, *_derived(derived[feature.name])) for feature in request.outputs]
    return _section(request, entries, rows)


def _word_lists() -> str:
    lists = [f"`{name}` — `{pattern}`\n" for pattern, name in LISTS.items()]
    points = f"`{FRUSTRATION}` — `{_text(word_lists.frustration(TEXT), short=False)}`\n"
    return "\n".join(["\n## Word lists\n\nFound in lower-cased text.\n", *lists, points]).rstrip() + "\n"


def _ownership(declared: Group | Request) -> dict[str, str]:
    return {
        "owner": declared.owner,
        "purpose": declared.purpose,
        "personal data": declared.pii,
        "version": f"`{declared.version}`, view `{declared.view}`",
    }


def _section(declared: Group | Request, entries: Mapping[str, str], rows: Iterable[tuple[str, ...]]) -> str:
    facts = "\n".join(f"- {name}: {text}" for name, text in entries.items())
    columns = ("feature", "type", "meaning", "computed as", "empty", "default", "expected")
    return f"\n## {declared.name}\n\n{declared.description}\n\n{facts}\n\n{_table(columns, rows)}"


def _row(feature: Feature, computed: str, empty: Value | None) -> tuple[str, ...]:
    shown = (f"`{feature.name}`", feature.dtype, feature.meaning, computed)
    return (*shown, _value(empty), _value(feature.default), _expected(feature.expect))


def _measured(group: Group, name: str) -> tuple[str, Value | None]:
    if name not in group.measured:
        return _derived(next(one for one in group.derived if one.name == name))
    measure, window = group.measured[name]
    return f"{_aggregate(measure)}, {window}", measure.empty_value


def _derived(one: Derived) -> tuple[str, Value | None]:
    return _code(one.value), one.empty


def _aggregate(measure: Measure) -> str:
    text = KINDS.get(measure.kind, measure.kind)
    text += f" of {_code(measure.of)}" if measure.of is not None else ""
    text += f" where {_code(measure.where)}" if measure.where is not None else ""
    text += f", half-life {measure.half_life}" if measure.half_life else ""
    return text + (f", in 1/{measure.scale}" if measure.scale != 1 else "")


def _expected(expect: Expect) -> str:
    least = f"at least {expect.least:g}" if expect.least is not None else ""
    most = f"at most {expect.most:g}" if expect.most is not None else ""
    filled = f"filled {expect.filled:.0%}" if expect.filled else ""
    return ", ".join(filter(None, (least, most, filled)))


def _value(value: Value | None) -> str:
    return "none" if value is None else repr(value) if isinstance(value, str) else str(value)


def _code(part: Operand | None) -> str:
    # A bar would end the cell, whatever stands around it.
    return f"`{_text(part)}`".replace("|", "\\|")


def _text(part: Operand | None, *, short: bool = True) -> str:
    if short and repr(part) == repr(word_lists.frustration(TEXT)):
        return FRUSTRATION
    if isinstance(part, str) and part in LISTS:
        return LISTS[part]
    if isinstance(part, Col):
        return part.name
    if not isinstance(part, Expression):
        return repr(part)
    first, *rest = map(_text, part.operands)
    match part.operator:
        case "not":
            return f"not {first}"
        case "null":
            return f"{first} is none"
        case "in":
            return f"{first} in ({', '.join(rest)})"
        case one if one in INFIX:
            return f"({first} {one} {rest[0]})"
        case one if one in METHODS:
            return f"{one}({', '.join((first, *rest))})"
        case _:
            return f"{part.operator}({', '.join((first, *rest))})"


def _hours(length: timedelta) -> str:
    return f"{length / timedelta(hours=1):g} h"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(_lines(columns, rows)) + "\n"


def _lines(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'|'.join('---' for _ in columns)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
