"""The language of contracts: a fact is an immutable row in silver, with columns and the rules between them."""

from dataclasses import dataclass
from typing import Literal

Type = Literal["text", "integer", "decimal", "boolean", "time"]


@dataclass(frozen=True)
class Column:
    """A column of a fact.

    Attributes
    ----------
    name, type
        ``decimal`` is a double, ``time`` an aware UTC timestamp in microseconds.
    meaning
        One line for the catalogue.
    required
        Whether a row without a value is rejected.
    allowed
        The only words that may stand here; empty for any.
    least, most
        Bounds, both included.
    pattern
        Regular expression that a text must match from its start to its end.
    masked
        Whether e-mail addresses, telephone and card numbers in the text are masked before silver.
    hindsight
        Whether it is known only after the end: good for labels, never an input.
    """

    name: str
    type: Type
    meaning: str
    required: bool = False
    allowed: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    masked: bool = False
    hindsight: bool = False


@dataclass(frozen=True)
class Rule:
    """A rule between columns of a row.

    Attributes
    ----------
    name
        Name of the rule, which is also the reason in quarantine.
    kind
        ``not_after``: the first column is not later than the second. ``not_negative``: the first column is not
        negative in rows whose second column is one of ``words``. ``given_when``: the first column has a value in those
        rows.
    columns, words
        What the kind needs.
    """

    name: str
    kind: Literal["not_after", "not_negative", "given_when"]
    columns: tuple[str, str]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contract:
    """What a fact is: its own columns, beside those that every fact has, and the rules between them."""

    fact: str
    meaning: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    anonymous: bool = False

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Every column that a source may state, the common ones first."""
        about = Column("source_id", "text", "who it is about, in the words of the source", required=not self.anonymous)
        return (*COMMON[:1], about, *COMMON[1:], *self.columns)

    @property
    def hindsight(self) -> frozenset[str]:
        """Columns that say how it ended: good for labels, never an input."""
        return frozenset(column.name for column in self.columns if column.hindsight)

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """Every rule between columns, those of all facts first."""
        return (NOT_AHEAD, *self.rules)


COMMON = (
    Column("event_id", "text", "id of the record, unique within the source", required=True),
    Column("event_time", "time", "when it happened", required=True),
    Column("revision", "integer", "the source's own revision number, where it has one", least=0),
    Column("retracted", "boolean", "whether this revision says that the record is gone"),
)
NOT_AHEAD = Rule("event_time_in_the_future", "not_after", ("event_time", "ingested_at"))
