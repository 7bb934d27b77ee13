"""The workspace: one company with its settings and its folder of state, which every step is given."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from infra.clock import Clock, SystemClock
from infra.company.company import Company
from infra.company.folder import company_file
from infra.company.load import load_company
from infra.settings import PREFIX, Settings

if TYPE_CHECKING:
    from infra.lake.lake import Lake


@dataclass(frozen=True)
class Workspace:
    """Settings, company, clock and the paths of the company's state."""

    settings: Settings
    company: Company
    clock: Clock = field(default_factory=SystemClock)

    @property
    def root(self) -> Path:
        """Folder of everything this company keeps; it can be deleted at any time."""
        return self.settings.home.resolve() / self.company.name

    @property
    def lake(self) -> "Lake":
        """The company's lake."""
        from infra.lake.lake import Lake  # DuckDB and Delta Lake come with it, and the online service needs neither

        return Lake(self.root / "lake", threads=self.settings.threads, memory=self.settings.memory)

    def folder(self, name: str) -> Path:
        """Return a folder of the state, made if it is not there: feast, mlflow, airflow, models, reports, ..."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def metadata_url(self, name: str) -> str:
        """Return the SQLAlchemy URL of a metadata database: SQLite in the state, or the server of the settings."""
        return self.settings.metadata_url or f"sqlite:///{self.folder(name) / f'{name}.db'}"

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables, so that a child process opens the same workspace."""
        stated = self.settings.model_dump(mode="json", exclude_none=True)
        stated |= {
            "home": self.settings.home.resolve(),
            "company": self.settings.company.resolve(),
            "public_data": self.settings.public_data.resolve(),
        }
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in stated.items()}


def open_workspace(settings: Settings | None = None, clock: Clock | None = None) -> Workspace:
    """Open the workspace of the settings, by default of those in the environment.

    Raises
    ------
    Rejected
        There is no such company, or its file cannot be read.
    """
    settings = settings or Settings()
    settings = settings.model_copy(update={"company": company_file(settings.company)})
    return Workspace(settings, load_company(settings.company), clock or SystemClock())
