"""``rapport new NAME``: a company of the user's own."""

from pathlib import Path
from typing import Annotated

import typer

from rapport.cli.console import screen

app = typer.Typer()


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and underscores.")],
    folder: Annotated[Path, typer.Option("--in", metavar="FOLDER", help="Where its folder goes.")] = Path(),
) -> None:
    """Write a small company of your own, which runs at once and explains itself."""
    from datetime import UTC, datetime

    from rapport.new.write import write_company
    from rapport_feast.times import DAY

    target = write_company(name, folder.resolve(), datetime.now(UTC).date() - DAY)
    screen().print(f"{target}: written. Next: rapport nightly --company {target}", soft_wrap=True, highlight=False)
