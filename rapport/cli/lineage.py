"""``rapport lineage NAME``: from anything in the ring to what it came from, and to all that it went into."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rapport.cli.console import AsJson, CompanyFile, open_company, print_json, screen
from rapport.lineage.kinds import KINDS

if TYPE_CHECKING:
    from rich.table import Table

    from rapport.lineage.nodes import Node

app = typer.Typer()
SHOWN = 25


@app.command()
def lineage(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"A {KINDS}.")],
    night: Annotated[str | None, typer.Option(metavar="NIGHT", help="Of this night only.")] = None,
    entity: Annotated[
        str | None, typer.Option(metavar="ID", help="One entity's value, or row of a training set.")
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="T", help="Moment of the row; else the entity's newest.")] = None,
    company: CompanyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what NAME came from and what it went into.

    NAME is a feature, group, view, fact (silver/FACT), source, source file (SOURCE/FILE), night, training set
    (training_sets/MODEL) or model (MODEL or MODEL/VERSION).
    """
    from features.inspect.explain import parse_moment
    from infra.clock import parse_night
    from rapport.lineage.trace import trace

    ws = open_company(company)
    found = trace(ws, name, parse_night(night) if night else None, entity, parse_moment(at) if at else None)
    if as_json:
        print_json(found.as_json())
        return
    screen().print(f"{found.query.kind} {found.query.name}", highlight=False)
    for title, nodes in (("came from", found.upstream), ("went into", found.downstream)):
        for part in _tables(title, nodes):
            screen().print(part)


def _tables(title: str, nodes: Sequence["Node"]) -> Sequence["Table | str"]:
    from rapport.cli.tables import table

    if not nodes:
        return [f"{title}: nothing"]
    rows = [(n.kind, n.name, str(n.nights) if n.nights else None, n.rows, n.run or None, n.summary) for n in nodes]
    parts: list[Table | str] = [table(title, ("kind", "name", "nights", "rows", "run", "found"), rows[:SHOWN])]
    if len(rows) > SHOWN:
        parts.append(f"and {len(rows) - SHOWN} more (--json has all)")
    return parts
