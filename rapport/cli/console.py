"""What the commands share: which company they work for, and where they print.

Under ``cli.py`` and the groups of commands beside it; heavy imports stand inside, as there.
"""

import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.private import keep_private
from rapport_feast.errors import Rejected

if TYPE_CHECKING:
    from rich.console import Console

    from infra.settings import LogLevel
    from infra.workspace import Workspace

CompanyFile = Annotated[
    Path | None,
    typer.Option("--company", metavar="FOLDER", help="Company; else RAPPORT_COMPANY, else the simulated company."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def open_company(company: Path | None, log_level: "LogLevel" = "warning") -> "Workspace":
    """Open the workspace of a company, else of the one that the settings name; log from a level on.

    Raises
    ------
    Rejected
        A setting or the company is wrong, or names what there is not.
    """
    from pydantic import ValidationError

    from infra.settings import Settings
    from infra.telemetry import configure
    from infra.workspace import open_workspace
    from rapport.company_names import refuse_unknown_names

    try:
        settings = Settings(company=company) if company else Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(["RAPPORT", *(str(part).upper() for part in first["loc"])])
        raise Rejected(name, f"a valid setting ({first['msg']})", repr(first["input"])) from None
    configure(settings, default=log_level)
    keep_private()
    ws = open_workspace(settings)
    refuse_unknown_names(ws.company)
    return ws


def screen() -> "Console":
    """Return the console of this process."""
    from rich.console import Console

    return Console()


def print_json(content: Any) -> None:
    """Print JSON for programs; times are ISO 8601 in UTC."""
    typer.echo(json.dumps(content, indent=2, default=json_default))


def json_default(value: object) -> str:
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, date):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def utc(moment: datetime) -> str:
    """Return a moment as it stands in our JSON and tables."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
