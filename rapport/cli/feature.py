"""The author's loop: ``rapport feature list | show | try | plan | backfill | docs``."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rapport.cli.console import AsJson, CompanyFile, open_company, print_json, screen
from rapport.cli.feature_tables import card_tables, plan_lines, state_text, try_json, try_tables

if TYPE_CHECKING:
    from features.declare.group import Group
    from features.inspect.explain import Explanation, Moment
    from infra.workspace import Workspace

app = typer.Typer(help="Declare, try, plan and build features.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A group, a view or a feature.")]
FEW = 3
PAGE = Path("docs") / "catalogue.md"


@app.command("list")
def list_(company: CompanyFile = None, as_json: AsJson = False) -> None:
    """Show every group of the catalogue and how far it is built."""
    from features.inspect.cards import overview
    from rapport.cli.tables import table

    rows = overview(open_company(company))
    if as_json:
        print_json(rows)
        return
    heads = ("group", "about", "fact", "served", "features", "version", "owner", "state")
    cells = ((*(row[head] for head in heads[:-1]), state_text(row)) for row in rows)
    screen().print(table("catalogue", heads, cells))


@app.command()
def show(name: Name, company: CompanyFile = None, as_json: AsJson = False) -> None:
    """Show all that is known of NAME: meaning, values, sources, versions, cost and the models that use it."""
    from features.inspect.cards import card

    found = card(open_company(company), name)
    if as_json:
        print_json(found)
        return
    for part in card_tables(found):
        screen().print(part)


@app.command("try")
def try_(
    name: Name,
    at: Annotated[str, typer.Option("--at", metavar="T", help="A night, for its cutoff, or a moment in ISO 8601.")],
    entity: Annotated[str | None, typer.Option(metavar="ID", help="Else those with most facts.")] = None,
    night: Annotated[bool, typer.Option("--night", help="The night's values, at the cutoff of its day.")] = False,
    company: CompanyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the values of NAME at T, as known then, with the facts that went into them.

    Nothing has to be built: a file of the catalogue that was edited a moment ago can be tried.
    """
    from features.catalogue import catalogue_of
    from features.inspect.cards import find
    from features.inspect.explain import ExplainQuery, Moment, parse_moment
    from infra.engine.open import open_engine

    ws = open_company(company)
    asked = find(catalogue_of(ws.company), name)
    group = asked.group
    moment = Moment.of(group, parse_moment(at), night=night)
    # DuckDB answers before Spark has started, and the two agree.
    with open_engine(ws, "duckdb") as engine:
        features = () if asked.whole else tuple(feature.name for feature in asked.features)
        query = ExplainQuery(ws, engine, group, moment, features)
        answers = query.explanations([entity] if entity else query.busiest(FEW))
        if entity and not answers[0].facts:
            query.refuse_unknown(entity)
    built = _built(ws, group, moment, answers)
    if as_json:
        print_json(try_json(group, moment, answers, built))
        return
    for part in try_tables(group, moment, answers, built):
        screen().print(part)


@app.command()
def plan(company: CompanyFile = None, as_json: AsJson = False) -> None:
    """Show what the catalogue would add, change, complete or drop, and what must be back-filled before it serves."""
    from features.inspect.plan import as_json as plain
    from features.inspect.plan import plan as planned
    from features.inspect.plan import unpinned

    changes = planned(open_company(company))
    if as_json:
        print_json([plain(change) for change in changes])
        return
    for line in plan_lines(changes):
        screen().print(line, soft_wrap=True, highlight=False, markup=False)
    if spare := unpinned(changes):
        screen().print(f"Pinned by no model any more: {', '.join(old.view for old in spare)}.", soft_wrap=True)


@app.command()
def backfill(
    name: Name,
    first: Annotated[
        str | None, typer.Option("--from", metavar="NIGHT", help="Build again from this night on.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="NIGHT", help="Else the newest of other groups.")] = None,
    chunk: Annotated[int, typer.Option(min=1, help="Nights that are built and committed at once.")] = 30,
    company: CompanyFile = None,
) -> None:
    """Build the history of group NAME, chunk by chunk.

    Killed anywhere, the next call goes on behind the last chunk; nightly runs go on behind all of them.
    """
    from features.catalogue import catalogue_of
    from features.compute.backfill import ChunkDone, nights_to_build
    from features.compute.backfill import backfill as run
    from features.inspect.cards import find
    from infra.clock import parse_night

    ws, console = open_company(company), screen()
    group = find(catalogue_of(ws.company), name).group
    nights = nights_to_build(ws, group, parse_night(first) if first else None, parse_night(last) if last else None)
    if nights is None:
        console.print(f"{group.view}: no night is missing.", soft_wrap=True)
        return

    def tell(done: ChunkDone) -> None:
        left = f"{done.left} nights left" if done.left else "done"
        console.print(f"{group.view}  {done.nights}  {done.rows:,} rows, {left}", soft_wrap=True, highlight=False)

    with console.status(f"{group.view}: {len(nights)} nights, {nights}"):
        run(ws, group, nights, length=chunk, run=f"backfill__{ws.clock.now().isoformat()}", on_chunk=tell)


@app.command()
def docs(
    company: CompanyFile = None,
    page: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where the page goes.")] = None,
) -> None:
    """Write the catalogue's page of the documentation; a company's own goes into its folder ``docs``."""
    from features.catalogue import catalogue_of
    from features.inspect.docs import page as text

    found = open_company(company).company
    own = found.folder is not None and bool(found.folder.declarations)
    if page is None:
        page = found.folder.path / PAGE if found.folder and own else PAGE
        page.parent.mkdir(exist_ok=True)
    page.write_text(text(catalogue_of(found)), encoding="utf-8")
    screen().print(f"{page}: written.", soft_wrap=True)


def _built(
    ws: "Workspace", group: "Group", moment: "Moment", answers: "Iterable[Explanation]"
) -> dict[str, dict[str, Any]]:
    """Return the rows of the night's table, where what was asked is the night's cutoff and the night is built."""
    from features.compute.tables import features_table
    from infra.clock import Nights, cutoff

    night = moment.at.date()
    table = features_table(group)
    if not moment.at == moment.known_by == cutoff(night) or not ws.lake.exists(table):
        return {}
    rows = ws.lake.read(table, Nights(night, night)).to_pylist()
    wanted = {answer.entity for answer in answers}
    return {row[group.entity.key]: row for row in rows if row[group.entity.key] in wanted}
