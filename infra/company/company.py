"""A company: which sources feed it, who is who, and which models it trains."""

from typing import Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from infra.company.folder import Folder
from infra.company.source import Section, Source


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

    _folder: Folder | None = PrivateAttr(None)

    @property
    def folder(self) -> Folder | None:
        """Where the company lies and what it declares of its own; none for one that was not read from a file."""
        return self._folder

    def lie_in(self, folder: Folder) -> Self:
        """Note the folder, for the company and its sources; returns the company."""
        self._folder = folder
        for source in self.sources:
            source._folder = folder
        return self

    def prefix(self, id_space: str) -> str:
        """Return what stands before a source id of a space in ``customer_id``."""
        return self.identity.get(id_space, f"{id_space}:")
