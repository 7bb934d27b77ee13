"""The author's loop: ``rapport feature list | show | try | plan | backfill | docs``.

Edit a file of the catalogue, try it on real facts, see what it would change, build its history: the next night serves
it.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rapport.console import AsJson, CompanyFile, open_company, print_json, screen, utc

if TYPE_CHECKING:
    from rich.table import Table

    from features.explain import Answer, Moment
    from features.plan import Change
    from features.spec import Group
    from infra.workspace import Workspace

app = typer.Typer(help="Declare, try, plan and build features.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A group, a view or a feature.")]
FEW, SHOWN, WIDE = 3, 20, 60
PAGE = Path("docs") / "catalogue.md"


@app.command("list")
def list_(company: CompanyFile = None, as_json: AsJson = False) -> None:
    """Show every group of the catalogue and how far it is built."""
    from features.cards import overview
    from rapport.status import table

    rows = overview(open_company(company))
    if as_json:
        print_json(rows)
        return
    heads = ("group", "about", "fact", "served", "features", "version", "owner", "state")
    cells = ((*(row[head] for head in heads[:-1]), _state(row)) for row in rows)
    screen().print(table("catalogue", heads, cells))


@app.command()
def show(name: Name, company: CompanyFile = None, as_json: AsJson = False) -> None:
    """Show all that is known of NAME: meaning, values, sources, versions, cost and the models that use it."""
    from features.cards import card

    found = card(open_company(company), name)
    if as_json:
        print_json(found)
        return
    for part in _card(found):
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
    from features.cards import find
    from features.explain import Moment, Question, moment_of
    from infra.engine import open_engine

    asked = find(name)
    group, ws = asked.group, open_company(company)
    moment = Moment.of(group, moment_of(at), night=night)
    # DuckDB answers before Spark has started, and the two agree.
    with open_engine(ws, "duckdb") as engine:
        features = () if asked.whole else tuple(feature.name for feature in asked.features)
        question = Question(ws, engine, group, moment, features)
        answers = question.answers([entity] if entity else question.busiest(FEW))
        if entity and not answers[0].facts:
            question.refuse_unknown(entity)
    built = _built(ws, group, moment, answers)
    if as_json:
        print_json(_tried(group, moment, answers, built))
        return
    for part in _answers(group, moment, answers, built):
        screen().print(part)


@app.command()
def plan(company: CompanyFile = None, as_json: AsJson = False) -> None:
    """Show what the catalogue would add, change, complete or drop, and what must be back-filled before it serves."""
    from features.plan import as_json as plain
    from features.plan import plan as planned
    from features.plan import unpinned

    changes = planned(open_company(company))
    if as_json:
        print_json([plain(change) for change in changes])
        return
    for line in _plan(changes):
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
    from features.backfill import Step, span
    from features.backfill import backfill as run
    from features.cards import find
    from infra.clock import parse_night

    ws, console, group = open_company(company), screen(), find(name).group
    nights = span(ws, group, parse_night(first) if first else None, parse_night(last) if last else None)
    if nights is None:
        console.print(f"{group.view}: no night is missing.", soft_wrap=True)
        return

    def tell(step: Step) -> None:
        left = f"{step.left} nights left" if step.left else "done"
        console.print(f"{group.view}  {step.nights}  {step.rows:,} rows, {left}", soft_wrap=True, highlight=False)

    with console.status(f"{group.view}: {len(nights)} nights, {nights}"):
        run(ws, group, nights, length=chunk, run=f"backfill__{ws.clock.now().isoformat()}", told=tell)


@app.command()
def docs(
    page: Annotated[Path, typer.Argument(metavar="FILE", help="Where the page goes.")] = PAGE,
) -> None:
    """Write the catalogue's page of the documentation."""
    from features.docs import page as text

    page.write_text(text(), encoding="utf-8")
    screen().print(f"{page}: written.", soft_wrap=True)


def _state(row: Mapping[str, Any]) -> str:
    beside = f"; beside it {', '.join(row['older'])}" if row["older"] else ""
    return f"{row['state']}{beside}"


def _card(found: Mapping[str, Any]) -> Iterator["Table"]:
    from rapport.status import table

    lineage = found["lineage"]
    where = "" if lineage["where"] == "none" else f" where {lineage['where']}"
    feeds = ", ".join(f"{source['name']} ({source['fact']})" for source in lineage["sources"]) or "no source"
    told = [(key, found[key]) for key in ("meaning", "owner", "purpose", "pii", "about", "served")]
    told += [("reads", f"{lineage['fact']}{where} <- {feeds}")]
    yield table(f"{found['name']}: {found['view']}", ("", ""), told)
    features = (
        (f["name"], f["type"], f["meaning"], _short(f["computed"]), f["empty"], f["default"], _expected(f["expect"]))
        for f in found["features"]
    )
    yield table("features", ("feature", "type", "meaning", "computed", "empty", "default", "expected"), features)
    versions = (
        (v["view"], "..".join(v["nights"]), v["bytes"], v["seconds"], ", ".join(v["pinned_by"]) or "nothing")
        for v in found["versions"]
    )
    yield table("in the lake", ("view", "nights", "bytes", "build seconds", "pinned by"), versions)
    users = ((f"{u['model']} v{u['version']}", u["state"], len(u["features"])) for u in found["used_by"])
    yield table("used by", ("model", "state", "features"), users)


def _expected(expect: Mapping[str, Any]) -> str:
    bounds = {"at least": expect["least"], "at most": expect["most"], "filled": expect["filled"] or None}
    return ", ".join(f"{word} {value:g}" for word, value in bounds.items() if value is not None)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= WIDE else f"{text[: WIDE - 1]}…"


def _built(ws: "Workspace", group: "Group", moment: "Moment", answers: "Iterable[Answer]") -> dict[str, dict[str, Any]]:
    """Return the rows of the night's table, where what was asked is the night's cutoff and the night is built."""
    from features.build import features_table
    from infra.clock import Nights, cutoff

    night = moment.at.date()
    table = features_table(group)
    if not moment.at == moment.known_by == cutoff(night) or not ws.lake.exists(table):
        return {}
    rows = ws.lake.read(table, Nights(night, night)).to_pylist()
    wanted = {answer.entity for answer in answers}
    return {row[group.entity.key]: row for row in rows if row[group.entity.key] in wanted}


def _tried(
    group: "Group", moment: "Moment", answers: "Iterable[Answer]", built: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    entities = [
        {
            "entity": answer.entity,
            "values": answer.values,
            "built": {name: built[answer.entity][name] for name in answer.values} if answer.entity in built else None,
            "facts": answer.facts,
        }
        for answer in answers
    ]
    told = {"group": group.name, "view": group.view, "fact": group.fact}
    return told | {"at": moment.at, "known_by": moment.known_by, "entities": entities}


def _answers(
    group: "Group", moment: "Moment", answers: "Iterable[Answer]", built: Mapping[str, Mapping[str, Any]]
) -> Iterator["Table | str"]:
    from rapport.status import table

    lag = "" if moment.known_by == moment.at else f" less its lag of {group.live_lag}"
    yield f"{group.view} at {utc(moment.at)}, as known then{lag}"
    for answer in answers:
        night = built.get(answer.entity)
        heads = ("feature", "value", *(("built that night",) if night else ()))
        values = ((name, value, *((night[name],) if night else ())) for name, value in answer.values.items())
        yield table(f"{group.entity.name} {answer.entity}", heads, values)
        yield from _facts(group, answer)


def _facts(group: "Group", answer: "Answer") -> Iterator["Table | str"]:
    from rapport.status import table

    read = sorted(group.columns - {"event_id", "event_time"})
    rows = (
        (
            *(f["event_id"], utc(f["event_time"]), utc(f["known_at"]), f["source"], f["file"]),
            *(_short(f[column]) if f[column] is not None else None for column in read),
            " ".join(f["windows"]),
        )
        for f in answer.facts[:SHOWN]
    )
    heads = ("event", "event_time", "known_at", "source", "file", *read, "windows")
    yield table(f"{len(answer.facts)} facts of {group.fact}", heads, rows)
    if (more := len(answer.facts) - SHOWN) > 0:
        yield f"and {more} older ones (--json has all)"


def _plan(changes: "Iterable[Change]") -> Iterator[str]:
    quiet = [change for change in changes if change.what == "keep"]
    for change in (change for change in changes if change.what != "keep"):
        yield f"{change.what:9} {change.view}"
        yield from (f"          {line}" for line in _details(change))
    yield f"keep      {len(quiet)} groups as they are"


def _details(change: "Change") -> Iterator[str]:
    yield from change.said
    if change.fill and change.estimate:
        expected = change.estimate
        judged = (
            f"an estimated {expected.seconds:g} s and {expected.rows or 0:,} rows, by {', '.join(expected.by)}"
            if expected.seconds is not None
            else "nothing similar was built yet, so there is no estimate"
        )
        yield f"back-fill {change.fill}, {expected.nights} nights, before it serves: {judged}"
    for old in change.old:
        pinned = f"pinned by {', '.join(old.pinned_by)}" if old.pinned_by else "pinned by no model"
        yield f"beside it stays {old.view}, to {old.nights.last}, {old.size:,} bytes, {pinned}"
