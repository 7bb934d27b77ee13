"""A source of the outside world, which becomes one fact."""

from datetime import date, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from infra.clock import parse_duration
from infra.company.folder import Folder

LOG = "log"


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
        return parse_duration(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_its_path(self) -> Self:
        if self.streamed == bool(self.path):
            raise ValueError("a source of the log has no path, any other has one")
        if self.streamed and (self.available or self.lag or self.shift_weeks or self.complete_through):
            raise ValueError("what the log accepts is available at that moment: no available, lag or shift")
        return self

    _folder: Folder | None = PrivateAttr(None)

    @property
    def folder(self) -> Folder | None:
        """The folder of its company, which may declare the source's fact and adapter."""
        return self._folder

    @property
    def streamed(self) -> bool:
        """Whether the source comes through the event log."""
        return self.adapter == LOG

    @property
    def nightly(self) -> bool:
        """Whether the source delivers one file a night."""
        return "{night}" in self.path
