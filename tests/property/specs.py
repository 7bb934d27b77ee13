"""Random feature groups over the real contracts, and random histories of silver rows that aim at every border.

Hypothesis draws a group and the seeds of its history. A history holds 20 cases, each made of one seed; the case number
stands in every id, so that one build answers all cases at once.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from features.declare.entity import CUSTOMER, QUEUE, TICKET, Entity
from features.declare.expression_types import NUMBERS, DType, ExpressionType, column_types
from features.declare.feature import Derived
from features.declare.group import Group
from features.declare.measure import Kind, Measure
from features.declare.terms import Expression, Operand, Operator, Term, Value, coalesce, col, when
from infra.clock import FixedClock, Nights, cutoff, parse_duration, start_of
from infra.company.company import Company
from infra.company.source import Source
from infra.lake.commit import Commit
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.times import DAY, MICROSECOND
from validation.contracts.standard import CONTRACTS
from validation.contracts.words import LINKS

SPECS, CASES = 25, 20
LINK_FACT = "identity_links"
SPACES = ("crm", "crm", "shop", "web")
# ``web`` is not listed: its ids keep the name of their space.
COMPANY = Company(
    name="oracle",
    title="for the oracle",
    sources=tuple(
        Source(name=fact, adapter="csv", fact=fact, path="none", id_space="crm")
        for fact in ("behaviours", LINK_FACT, "interactions", "survey_answers", "ticket_events", "transactions")
    ),
    identity={"crm": "", "shop": "shop-"},
)
# Three nights each around a leap day and the days on which America and Europe move their clocks.
ERAS = (date(2024, 2, 28), date(2024, 3, 9), date(2024, 3, 30))
NIGHTS = 3
ABOUT: tuple[tuple[str, Entity], ...] = (
    ("interactions", TICKET),
    ("transactions", CUSTOMER),
    ("ticket_events", QUEUE),
    ("behaviours", CUSTOMER),
    ("ticket_events", TICKET),
    ("interactions", CUSTOMER),
    ("survey_answers", CUSTOMER),
    ("survey_answers", TICKET),
)
MEASURES = 5
HOPS = ("1d", "6h", "1h")
SHORT = ("5m", "1h", "90m", "24h")
LONG = ("2d", "7d", "30d", "365d")
LAGS = ("1s", "0s", "5m")
TEXTS = (None, "", "It is BROKEN", "thank  you ", "äÖü ß", "two\twords", "a b a", "Ça va? 😀", "42", "broken again")
PATTERNS = ("broken", "^thank", "[äö]", r"\d+$", "a.*a", "ça|x")
# What stands in the columns of a fact; a function of the case where the ids of cases may not meet.
WORDS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "interactions": {
        "channel": ("chat", "email", "call"),
        "thread_id": ("T0", "T1"),
        "author_role": ("customer", "agent", "bot"),
        "visibility": ("public", "private"),
        "text": TEXTS,
        "action": (None, "refund", "hand_off"),
    },
    "ticket_events": {
        "ticket_id": ("T0", "T1"),
        "kind": ("opened", "assigned", "escalated", "reopened", "closed"),
        "priority": (None, 1, 2, 5),
        "category": (None, "x", "y"),
        "assignment_group": (None, "g", "h"),
        "channel": (None, "chat", "ivr"),
    },
    "transactions": {
        "kind": ("order", "payment", "refund", "plan_change", "adjustment"),
        "order_id": ("O1", "O2", "O3"),
        "product": (None, "a", "b", "B"),
        "quantity": (None, 0, 1, 2, 3),
        "amount_minor": (0, 1, 250, 250, 99_999, 10_000_000_00, -750),
        "currency": ("EUR", "USD"),
    },
    "behaviours": {
        "kind": ("page_view", "login", "product_use", "search"),
        "session_id": ("s1", "s2", "s3"),
        "page": (None, "home", "help", "Über"),
        "duration_ms": (None, 0, 1, 1500, 86_400_000),
    },
    "survey_answers": {
        "survey": ("csat", "nps", "ces", "poll"),
        "score": (0.0, 0.5, 2.675, 4.35, 10.0, 100.0),
        "weight": (None, 1.0, 0.125, 1e-6, 1e6),
        "channel": (None, "chat", "email"),
        "ticket_id": (None, "T0", "T1"),
        "verbatim": TEXTS,
    },
}
CASED = ("thread_id", "ticket_id", "assignment_group")
Types = Mapping[str, ExpressionType]


# --- specs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vocabulary:
    """What expressions may be made of.

    Attributes
    ----------
    types
        Column = type.
    words
        Column = the texts that stand in it, where they are known.
    small
        Whole-number columns that may be multiplied; sums must stay within 64 bits.
    """

    types: Types
    words: Mapping[str, Sequence[str]]
    small: frozenset[str]

    def named(self, *types: ExpressionType) -> list[str]:
        return [name for name, type_ in self.types.items() if type_ in types]


def of_fact(fact: str) -> Vocabulary:
    hindsight = {column.name for column in CONTRACTS[fact].columns if column.hindsight}
    words = {
        name: [word for word in some if isinstance(word, str)]
        for name, some in WORDS[fact].items()
        if name not in CASED and any(isinstance(word, str) for word in some)
    }
    return Vocabulary(
        {name: type_ for name, type_ in column_types(CONTRACTS[fact]).items() if name not in hindsight},
        words,
        frozenset({"priority", "quantity"}),
    )


@st.composite
def integers(draw: st.DrawFn, known: Vocabulary, depth: int) -> Term:
    """Draw a whole number; the first of its ways is the simplest, and always open."""
    ways: list[Callable[[], Term]] = [lambda: col(draw(st.sampled_from(known.named("integer"))))]
    if not known.named("integer"):
        ways = [lambda: draw(small_integers(known))]
    elif known.named("time"):
        ways.append(lambda: draw(small_integers(known)))
    if depth:
        inner = integers(known, depth - 1)
        ways += [
            lambda: draw(inner) + draw(st.one_of(inner, st.sampled_from([1, 100, 40_000]))),
            lambda: draw(inner) - draw(inner),
            lambda: draw(inner) * draw(factors(known)),
            lambda: when(draw(booleans(known, depth - 1)), draw(inner), draw(st.one_of(inner, st.just(100)))),
            lambda: coalesce(draw(inner), draw(inner), -3),
        ]
    return draw(st.sampled_from(ways))()


@st.composite
def small_integers(draw: st.DrawFn, known: Vocabulary) -> Term:
    """Draw a whole number that stays small whatever the row."""
    ways: list[Callable[[], Term]] = [
        lambda: col("event_time").hour(),
        lambda: col("event_time").weekday(),
        lambda: col(draw(st.sampled_from(known.named("text")))).length(),
        lambda: col(draw(st.sampled_from(known.named("text")))).words(),
    ]
    return draw(st.sampled_from(ways))()


def factors(known: Vocabulary) -> st.SearchStrategy[Operand]:
    small = [st.just(col(name)) for name in known.named("integer") if name in known.small]
    some = [small_integers(known)] if known.named("time") else []
    return st.one_of(st.sampled_from([2, -1, 100]), *small, *some)


@st.composite
def decimals(draw: st.DrawFn, known: Vocabulary, depth: int) -> Term:
    """Draw a number that need not be whole."""
    number = integers(known, max(depth - 1, 0))
    ways: list[Callable[[], Term]] = [
        lambda: draw(number) / draw(st.one_of(st.sampled_from([3, 8, 0.3]), number)),
        lambda: draw(number) * draw(st.sampled_from([0.1, 1.5, -0.25])),
    ]
    if known.named("decimal"):
        ways.insert(0, lambda: col(draw(st.sampled_from(known.named("decimal")))))
    if depth:
        inner = decimals(known, depth - 1)
        ways += [
            lambda: draw(inner) + draw(st.one_of(inner, number)),
            lambda: draw(inner) - draw(st.one_of(inner, number)),
            lambda: draw(inner) / draw(inner),
            lambda: when(draw(booleans(known, depth - 1)), draw(inner), draw(st.one_of(number, st.just(2)))),
            lambda: coalesce(draw(inner), draw(number), 0.5),
        ]
    return draw(st.sampled_from(ways))()


@st.composite
def texts(draw: st.DrawFn, known: Vocabulary, depth: int) -> Term:
    """Draw a text."""
    ways: list[Callable[[], Term]] = [lambda: col(draw(st.sampled_from(known.named("text"))))]
    if depth:
        inner = texts(known, depth - 1)
        ways += [
            lambda: when(draw(booleans(known, depth - 1)), draw(inner), draw(st.sampled_from(["", "other"]))),
            lambda: coalesce(draw(inner), draw(inner), "none"),
        ]
    return draw(st.sampled_from(ways))()


@st.composite
def booleans(draw: st.DrawFn, known: Vocabulary, depth: int) -> Term:
    """Draw a condition."""
    compare: st.SearchStrategy[Operator] = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    ways: list[Callable[[], Term]] = []
    if known.words:

        def word() -> Term:
            name = draw(st.sampled_from(sorted(known.words)))
            return Expression(draw(compare), (col(name), draw(st.sampled_from(known.words[name]))))

        def among() -> Term:
            name = draw(st.sampled_from(sorted(known.words)))
            return col(name).isin(*draw(st.lists(st.sampled_from(known.words[name]), min_size=1, max_size=3)))

        ways += [word, among, lambda: col(draw(st.sampled_from(sorted(known.words)))).isnull()]
    if any("broken" in text.lower() for some in known.words.values() for text in some):
        spoken = sorted(name for name, some in known.words.items() if any("BROKEN" in text for text in some))
        ways += 2 * [lambda: col(draw(st.sampled_from(spoken))).matches(draw(st.sampled_from(PATTERNS)))]
    ways.append(
        lambda: Expression(
            draw(compare), (draw(integers(known, 0)), draw(st.one_of(integers(known, 0), st.sampled_from([0, 1, 12]))))
        )
    )
    ways.append(lambda: Expression(draw(compare), (draw(decimals(known, 0)), draw(st.sampled_from([1, 2.5, 0.0])))))
    if depth:
        inner = booleans(known, depth - 1)
        ways += [
            lambda: draw(inner) & draw(inner),
            lambda: draw(inner) | draw(inner),
            lambda: ~draw(inner),
            lambda: draw(integers(known, depth - 1)).isnull(),
            lambda: draw(inner) == draw(st.one_of(inner, st.booleans())),
        ]
    return draw(st.sampled_from(ways))()


EXPRESSIONS: Mapping[ExpressionType, Callable[[Vocabulary, int], st.SearchStrategy[Term]]] = {
    "integer": integers,
    "decimal": decimals,
    "text": texts,
    "boolean": booleans,
}
KINDS: Mapping[Kind, tuple[ExpressionType, ...]] = {
    "count": (),
    "sum": ("integer", "decimal"),
    "last": ("text", "integer"),
    "slope": ("integer", "decimal"),
    "min": ("integer", "decimal"),
    "share": ("boolean",),
    "decayed": ("integer", "decimal"),
    "distinct": ("text", "integer", "boolean"),
    "since": (),
    "mean": ("integer", "decimal"),
    "first": ("text", "integer"),
    "max": ("integer", "decimal"),
    "rate": (),
    "age": (),
}


@st.composite
def measures(
    draw: st.DrawFn, known: Vocabulary, windows: tuple[str, ...], hop: str, kind: Kind, number: int
) -> Measure:
    """Draw a measure of a kind over one or two windows."""
    chosen = draw(st.lists(st.sampled_from(windows), min_size=1, max_size=2, unique=True))
    of: Term | None = None
    scale = 1
    dtype: DType = "int64"
    if KINDS[kind]:
        type_ = draw(st.sampled_from(KINDS[kind]))
        of = draw(EXPRESSIONS[type_](known, draw(st.integers(0, 2))))
        if type_ == "decimal":
            scale = draw(st.sampled_from([10, 100, 1000]))
        elif type_ == "integer" and kind not in {"last", "first", "distinct"}:
            scale = draw(st.sampled_from([1, 1, 10]))
        dtype = "string" if kind in {"first", "last"} and type_ == "text" else "int64"
    if kind in {"mean", "rate", "share", "slope", "decayed"} or scale != 1:
        dtype = "float64"
    return Measure(
        f"m{number}_{kind}",
        kind,
        tuple(chosen),
        of=of,
        where=draw(conditions(known)),
        scale=scale,
        half_life=draw(st.sampled_from(sorted({hop, "2d", "7d"}))) if kind == "decayed" else "",
        empty=draw(st.one_of(st.none(), EMPTIES[dtype])),
    )


def conditions(known: Vocabulary) -> st.SearchStrategy[Term | None]:
    """Return conditions that rarely leave nothing over."""
    return st.one_of(st.none(), booleans(known, 0).map(lambda some: ~some), booleans(known, 1))


@st.composite
def roomy(draw: st.DrawFn, known: Vocabulary) -> Term:
    """Draw a condition that leaves some rows over whatever else it says."""
    name = draw(st.sampled_from(sorted(known.words)))
    some = col(name) == draw(st.sampled_from(known.words[name]))
    return draw(st.sampled_from([lambda: ~some, lambda: some | draw(booleans(known, 1))]))()


EMPTIES: Mapping[DType, st.SearchStrategy[Value]] = {
    "int64": st.sampled_from([-1, 7]),
    "float64": st.sampled_from([-0.5, 3]),
    "string": st.sampled_from(["none", ""]),
}


@st.composite
def derived(draw: st.DrawFn, types: dict[str, ExpressionType], entity: Entity) -> tuple[Derived, ...]:
    """Draw features of other features; a later one may need an earlier one, and all may stand in any order."""
    found = []
    known = dict(types)
    for number in range(draw(st.integers(1, 3))):
        open_types: list[ExpressionType] = ["decimal"] if NUMBERS & set(known.values()) else []
        open_types += ["integer"] if "integer" in known.values() else []
        open_types += ["text"] if "text" in known.values() else []
        type_ = draw(st.sampled_from(open_types))
        if type_ == "decimal" and "integer" not in known.values():
            value: Term = col(draw(st.sampled_from([n for n, t in known.items() if t == "decimal"]))) / 3
        else:
            value = draw(EXPRESSIONS[type_](Vocabulary(known, {}, frozenset()), 2))
        empty = draw(st.one_of(st.none(), EMPTIES[DTYPES[type_]]))
        name = f"{entity.name}__derived_{number}"
        found.append(Derived(name, value, empty=empty))
        known[name] = type_
    return tuple(draw(st.permutations(found)))


DTYPES: Mapping[ExpressionType, DType] = {"integer": "int64", "decimal": "float64", "text": "string"}
TYPES: Mapping[DType, ExpressionType] = {"int64": "integer", "float64": "decimal", "string": "text"}


@st.composite
def groups(draw: st.DrawFn, number: int) -> Group:
    """Draw a group: five measures of different kinds, and features derived from theirs.

    The number says what it is about and which kinds, so that 25 numbers have every kind about nine times.
    """
    fact, entity = ABOUT[number % len(ABOUT)]
    hop = draw(st.sampled_from(HOPS))
    known = of_fact(fact)
    kinds = [list(KINDS)[(MEASURES * number + i) % len(KINDS)] for i in range(MEASURES)]
    if (fact, entity) == ("survey_answers", TICKET):
        kinds = ["count" if kind == "decayed" else kind for kind in kinds]
    windows: dict[Kind, tuple[str, ...]] = {kind: LONG if kind == "decayed" else (*LONG, *SHORT) for kind in kinds}
    if fact == "survey_answers" and "decayed" not in kinds:
        # Where no window moves in hops, nothing is read from tiles; and a day begins where one of 24 hours does.
        windows = dict.fromkeys(kinds, SHORT if entity.linked else SHORT[:-1])
    chosen = tuple(draw(measures(known, windows[kind], hop, kind, place)) for place, kind in enumerate(kinds))
    plain = Group(
        "random",
        "drawn",
        "tests",
        "service",
        entity,
        fact,
        chosen,
        where=draw(st.one_of(st.none(), roomy(known))),
        served="live",
        hop=hop,
        live_lag=draw(st.sampled_from(LAGS)),
    )
    types = {feature.name: TYPES[feature.dtype] for feature in plain.outputs}
    if "integer" not in types.values():
        return plain
    more = draw(derived(types, entity))
    return Group(
        plain.name,
        plain.description,
        plain.owner,
        plain.purpose,
        entity,
        fact,
        chosen,
        derived=more,
        where=plain.where,
        served="live",
        hop=hop,
        live_lag=plain.live_lag,
    )


def drawn(number: int, cases: int = CASES) -> tuple[Group, "History"]:
    """Return the group and history of a number: the same wherever and whenever it is asked for.

    Hypothesis tries the simplest example first, which says little, and varies those that it has seen; so it draws one
    example for every number, and the simplest is refused.
    """
    found: list[tuple[Group, History]] = []

    @seed(number)
    @settings(max_examples=1, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 99), st.data())
    def draw(more: int, data: st.DataObject) -> None:
        assume(more)
        group = data.draw(groups(number))
        found.append((group, data.draw(histories(group, cases))))

    draw()
    return found[0]


# --- facts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One history: silver rows of the fact and of the links, and moments to ask about."""

    number: int
    seed: int
    facts: tuple[dict[str, Any], ...]
    links: tuple[dict[str, Any], ...]
    spine: tuple[tuple[str, datetime], ...]


@dataclass(frozen=True)
class History:
    """Cases whose ids never meet, so that one build and one training set answer all of them."""

    nights: Nights
    seeds: tuple[int, ...]
    cases: tuple[Case, ...] = field(repr=False)

    @property
    def spine(self) -> list[tuple[int, str, datetime]]:
        """Case, key and moment of every spine row, in the order of its position."""
        rows = [(case.number, key, at) for case in self.cases for key, at in case.spine]
        random.Random(len(rows)).shuffle(rows)
        return rows


@st.composite
def histories(draw: st.DrawFn, group: Group, cases: int = CASES) -> History:
    """Draw a history of some cases for a group."""
    first = draw(st.sampled_from(ERAS))
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=cases, max_size=cases, unique=True))
    return make_history(group, first, seeds)


def make_history(group: Group, first: date, seeds: Sequence[int]) -> History:
    """Make a history of one case for each seed."""
    nights = Nights(first, first + (NIGHTS - 1) * DAY)
    cases = tuple(_Maker(group, nights, number, seed).case() for number, seed in enumerate(seeds))
    return History(nights, tuple(seeds), cases)


class _Maker:
    """Makes the rows of a case from its seed."""

    def __init__(self, group: Group, nights: Nights, number: int, seed: int) -> None:
        self.group, self.nights, self.number, self.seed = group, nights, number, seed
        self.random = random.Random(seed)
        self.opening, self.end = start_of(nights.first), cutoff(nights.last) + DAY
        self.windows = sorted({parse_duration(window) for m in group.measures for window in m.windows})
        self.hop, self.lag = parse_duration(group.hop), parse_duration(group.live_lag)
        self.moments = [self._any_moment() for _ in range(6)]
        self.borders = [cutoff(night) for night in nights] * 2 + self.moments
        self.happened: list[datetime] = []

    def case(self) -> Case:
        numbered = self.random.choice([0.0, 0.5, 1.0])
        about = self.random.randint(12, 30)
        facts = [self._fact(about, numbered) for _ in range(self.random.randint(25, 45))]
        linked = self.group.entity.linked
        links = [self._link(numbered) for _ in range(self.random.randint(2, 14))] if linked else []
        for rows in (facts, links):
            self._arrive(rows)
        spine = [(self._key(facts, links), self._spine_moment(facts)) for _ in range(7)]
        spine += [self.random.choice(spine), (self._key(facts, links), self.opening - 500 * DAY)]
        return Case(self.number, self.seed, tuple(facts), tuple(links), tuple(spine))

    def _named(self, text: str | None) -> str | None:
        return None if text is None else f"{self.number:02}.{text}"

    def _any_moment(self) -> datetime:
        """Return a moment of the nights, to an odd microsecond."""
        return self.opening + MICROSECOND * self.random.randrange((self.end - self.opening) // MICROSECOND)

    def _just(self) -> timedelta:
        return self.random.choice([-1, 0, 1]) * MICROSECOND

    def _event_time(self) -> datetime:
        """Return when something happened: often on a border to the microsecond, or a little beside it."""
        chance = self.random.random()
        at = self.random.choice(self.borders)
        if chance < 0.12 and self.happened:
            return self.random.choice(self.happened)
        if chance < 0.36:
            start = at - self.random.choice(self.windows)
            rounded = self.random.random() < 0.7 and at - start > DAY
            return (self._hop_of(start) if rounded else start) + self._just()
        if chance < 0.48:
            return self._hop_of(at - self.random.randrange(60) * self.hop) + self._just()
        if chance < 0.54:
            return at + self._just()
        span = self.random.choice([timedelta(minutes=7), timedelta(hours=3), DAY, 3 * DAY, 30 * DAY, 370 * DAY])
        return at - MICROSECOND * self.random.randrange(span // MICROSECOND)

    def _hop_of(self, at: datetime) -> datetime:
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return at - (at - midnight) % self.hop

    def _ingested_at(self, happened: datetime, opening: datetime) -> datetime:
        """Return when it became known: at once, late, or around a cutoff or a moment that is asked about."""
        chance = self.random.random()
        if chance < 0.2:
            known = self.random.choice(self.borders) + self._just()
        elif chance < 0.4:
            known = self.random.choice(self.moments) - self.lag + self._just()
        elif chance < 0.5:
            known = self._any_moment()
        else:
            known = happened + self.random.choice(
                [timedelta(0), MICROSECOND, timedelta(seconds=5), timedelta(hours=5), DAY, 3 * DAY]
            )
        return min(max(known, happened, opening), self.end)

    def _row(self, event_id: str, numbered: float, opening: datetime) -> dict[str, Any]:
        happened = min(self._event_time(), self.end)
        self.happened.append(happened)
        return {
            "event_id": event_id,
            "source": "s",
            "id_space": self.random.choice(SPACES),
            "source_id": self._named(self.random.choice(["A", "B"])),
            "event_time": happened,
            "ingested_at": self._ingested_at(happened, opening),
            "revision": self.random.randint(0, 3) if self.random.random() < numbered else None,
            "retracted": self.random.random() < 0.12,
        }

    def _fact(self, about: int, numbered: float) -> dict[str, Any]:
        row = self._row(f"s:{self.number:02}.e{self.random.randrange(about)}", numbered, self.opening)
        for name, words in WORDS[self.group.fact].items():
            word = self.random.choice(words)
            row[name] = self._named(word) if name in CASED else word
        if CONTRACTS[self.group.fact].anonymous and self.random.random() < 0.1:
            row["source_id"] = None
        return row

    def _link(self, numbered: float) -> dict[str, Any]:
        # Links may be known before the first night that the group's own fact fills.
        row = self._row(f"s:{self.number:02}.l{self.random.randrange(8)}", numbered, self.opening - 2 * DAY)
        kind = self.random.choice([LINKS[0], LINKS[0], LINKS[1]])
        customer = self.random.choice(["A", "K1", "K2"])
        return row | {
            "source_id": self._named(self.random.choice(["A", "A", "B", "B", "K1"])),
            "kind": kind,
            "customer": self._named(customer if kind == LINKS[0] else self.random.choice([None, customer])),
            "backwards": self.random.choice([None, False, True, True]),
        }

    def _arrive(self, rows: list[dict[str, Any]]) -> None:
        """Give every row its place in a file; some rows come again as they are, and some come at the same instant."""
        for row in self.random.sample(rows, len(rows) // 10):
            rows.append(row | {"ingested_at": self._ingested_at(row["ingested_at"], self.opening)})
        for row in self.random.sample(rows, len(rows) // 8):
            other = self.random.choice(rows)
            row["event_id"] = other["event_id"]
            row["ingested_at"] = max(other["ingested_at"], row["event_time"])
        for position, row in zip(self.random.sample(range(len(rows)), len(rows)), rows, strict=True):
            row |= {"file": self.random.choice(["a", "b"]), "position": position}
        self.random.shuffle(rows)

    def _key(self, facts: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]) -> str:
        """Return an entity that may be there: under its own id, as a customer, or not at all."""
        if self.random.random() < 0.05:
            return f"{self.number:02}.nobody"
        customers = [link["customer"] for link in links if link["customer"]]
        if customers and self.random.random() < 0.6:
            return str(self.random.choice(customers))
        row = self.random.choice(facts)
        return f"{COMPANY.prefix(row['id_space'])}{row[self.group.entity.column_in(self.group.fact)]}"

    def _spine_moment(self, facts: Sequence[Mapping[str, Any]]) -> datetime:
        """Return a moment of the spine."""
        chance = self.random.random()
        if chance < 0.6:
            return self.random.choice(self.moments)
        if chance < 0.8:
            return self.random.choice(facts)["ingested_at"] + self.lag + self._just()
        if chance < 0.9:
            return self.random.choice(facts)["event_time"] + self.random.choice(self.windows) + self._just()
        return self.random.choice(self.borders)


# --- silver ----------------------------------------------------------------------------------------------------------

STAMP = pa.timestamp("us", "UTC")
ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.float64(),
    "boolean": pa.bool_(),
    "time": STAMP,
}
COMMON = {
    "event_id": pa.string(),
    "source": pa.string(),
    "id_space": pa.string(),
    "source_id": pa.string(),
    "event_time": STAMP,
    "ingested_at": STAMP,
    "revision": pa.int64(),
    "retracted": pa.bool_(),
    "file": pa.string(),
    "position": pa.int64(),
    "revises": pa.bool_(),
}


def workspace(folder: Any) -> Workspace:
    """Return an empty workspace of the oracle's company."""
    return Workspace(Settings(home=folder), COMPANY, FixedClock(datetime(2024, 6, 1, tzinfo=UTC)))


def write_history(ws: Workspace, group: Group, history: History) -> None:
    """Write the silver tables of a history, as the gate leaves them."""
    write_silver(ws, group.fact, [row for case in history.cases for row in case.facts])
    if group.entity.linked:
        write_silver(ws, LINK_FACT, [row for case in history.cases for row in case.links])


def write_silver(ws: Workspace, fact: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write silver rows of a fact; which of them revise an earlier one follows from their order of arrival."""
    seen: set[str] = set()
    stated = []
    for row in sorted(rows, key=lambda r: (r["ingested_at"], r["file"], r["position"])):
        stated.append({**row, "revises": row["event_id"] in seen, "known_day": row["ingested_at"].date()})
        seen.add(row["event_id"])
    columns = {column.name: ARROW[column.type] for column in CONTRACTS[fact].columns}
    schema = pa.schema({**COMMON, **columns, "known_day": pa.date32()})
    days = [row["known_day"] for row in stated]
    if not days:
        return
    commit = Commit(Nights(min(days), max(days)))
    ws.lake.replace(f"silver/{fact}", pa.Table.from_pylist(stated, schema), commit, partition="known_day")
