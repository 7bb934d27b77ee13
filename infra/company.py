"""A company file: which adapters read what, who is who, and which models it trains."""

import re
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infra.errors import Rejected

DURATION = re.compile(r"(\d+)([smhdw])")
LOG = "log"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Read a length of time such as ``5m``, ``24h``, ``30d`` or ``2w``.

    Raises
    ------
    Rejected
        The text is no whole number of seconds, minutes, hours, days or weeks.

    Examples
    --------
    >>> duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    match = DURATION.fullmatch(text)
    if match is None:
        raise Rejected("duration", "a whole number and s, m, h, d or w, such as 30d", repr(text))
    return timedelta(**{UNITS[match[2]]: int(match[1])})


class Section(BaseModel):
    """A part of the company file: frozen, and no key that nothing reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Section):
    """One feed of the outside world, which becomes one fact.

    ``path`` may hold ``{world}`` (the simulator's folder), ``{public}`` (the public data) and ``{night}``: with
    ``{night}`` the source delivers one file a night, without it one file holds the whole history. With the adapter
    ``log`` it has no file: its events come through the event log.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    adapter: str
    fact: str
    path: str = ""
    id_space: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    available: str | None = Field(None, description="column that says when the record became available")
    lag: timedelta = Field(timedelta(0), description="how long after that time we could have it")
    shift_weeks: int = Field(0, description="whole weeks added to every time, never relative to today")
    complete_through: date | None = Field(None, description="last day (shifted) that one whole file is known to cover")
    min_rows: int = Field(0, ge=0, description="fewest rows that a nightly file may hold")
    max_rejected: float = Field(
        0.05, ge=0, le=1, description="share of rejected rows beyond which the batch is refused"
    )
    columns: dict[str, str] = Field(default_factory=dict, description="column of the fact = column of the file")
    constants: dict[str, str] = Field(
        default_factory=dict, description="column of the fact = the same text in every row"
    )
    values: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="per column of the fact: word = our word"
    )
    ids: str = Field(
        "", description="source of the same records, such as the nightly file of what is streamed: its event ids count"
    )

    @field_validator("lag", mode="before")
    @classmethod
    def _read_lag(cls, value: object) -> object:
        return duration(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_its_path(self) -> Self:
        if self.streamed == bool(self.path):
            raise ValueError("a source of the log has no path, any other has one")
        if self.streamed and (self.available or self.lag or self.shift_weeks or self.complete_through):
            raise ValueError("what the log accepts is available at that moment: no available, lag or shift")
        return self

    @property
    def streamed(self) -> bool:
        """Whether the source comes through the event log."""
        return self.adapter == LOG

    @property
    def nightly(self) -> bool:
        """Whether the source delivers one file a night."""
        return "{night}" in self.path


class Model(Section):
    """A model that the company trains: a recipe of ``training/`` on one of its labels."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    recipe: str
    label: str
    options: dict[str, Any] = Field(default_factory=dict)


class Company(Section):
    """One company: one lake root, one Feast project, one MLflow prefix."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    notes: str = ""
    identity: dict[str, str] = Field(
        default_factory=dict, description="id space = prefix of customer_id; unlisted spaces keep their own name"
    )
    world: dict[str, Any] | None = Field(None, description="settings of the simulator, if the company is simulated")
    sources: tuple[Source, ...]
    models: tuple[Model, ...] = ()

    @model_validator(mode="after")
    def _ids_are_of_twins(self) -> Self:
        own = {source.name: (source.fact, source.id_space) for source in self.sources if not source.ids}
        for source in self.sources:
            if source.ids and own.get(source.ids) != (source.fact, source.id_space):
                raise ValueError(f"{source.name}: ids names a source of the same fact and id space with ids of its own")
        return self

    @field_validator("sources", "models")
    @classmethod
    def _names_differ(cls, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [part.name for part in parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the name {twice[0]!r} stands twice")
        return parts

    def prefix(self, id_space: str) -> str:
        """Return what stands before a source id of a space in ``customer_id``."""
        return self.identity.get(id_space, f"{id_space}:")


def load_company(path: Path) -> Company:
    """Read a company file.

    Raises
    ------
    Rejected
        There is no such file, it is no TOML, or a key is missing, unknown or of the wrong kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Rejected(
            "company file", "a TOML file", f"nothing at {path}", "Name one with --company or RAPPORT_COMPANY."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise Rejected(f"company file {path.name}", "valid TOML", str(error)) from None
    try:
        return Company.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Rejected(f"company file {path.name}, {where}", "a valid entry", first["msg"]) from None
