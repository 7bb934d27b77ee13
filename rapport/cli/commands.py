"""The commands of ``rapport``; heavy imports stand inside, so that ``rapport --help`` answers at once."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rapport.cli.console import AsJson, CompanyFile, open_company, print_json, screen
from rapport.cli.feature import app as feature
from rapport.cli.lineage import app as lineage
from rapport.cli.new import app as new
from rapport_feast.errors import RapportError, Rejected, Transient

if TYPE_CHECKING:
    from rich.console import Console

    from features.stream.conversation import Conversations
    from infra.workspace import Workspace

# Those of sysexits.h where it has one; 2 is what command lines say to bad input.
REJECTED, TERMINAL, TRANSIENT, INTERRUPTED = 2, 70, 75, 130
app = typer.Typer(
    name="rapport",
    help="A feature store and model-training platform for AI customer service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(feature, name="feature")


app.add_typer(lineage)


app.add_typer(new)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 2 bad input, 70 broken, 75 try again, 130 interrupted."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except RapportError as error:
        typer.echo(f"rapport: {error}", err=True)
        sys.exit(REJECTED if isinstance(error, Rejected) else TRANSIENT if isinstance(error, Transient) else TERMINAL)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


@app.command()
def nightly(
    company: CompanyFile = None,
    night: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Night; else the last of the data.")] = None,
) -> None:
    """Run the nightly ring, from sources to models."""
    from infra.clock import parse_night, refuse_open_night
    from rapport.stack.night import run_night

    ws, console = open_company(company), screen()
    wanted = parse_night(night) if night else None
    ensure_world(ws, console)
    if wanted is None:
        from validation.sources.coverage import last_night

        wanted = last_night(ws)
    refuse_open_night(wanted, ws.clock)
    console.print(
        f"{ws.company.title}: night {wanted}, features by {ws.settings.engine}, state in {ws.root}", soft_wrap=True
    )
    code = run_night(ws, wanted, console)
    print_status(ws, console)
    raise typer.Exit(code)


@app.command()
def backfill(first: str, last: str, company: CompanyFile = None) -> None:
    """Run nights FIRST to LAST again, in order.

    Airflow's back-fill does it; a night is YYYY-MM-DD.
    """
    from infra.clock import parse_night, refuse_open_night
    from rapport.stack import night

    ws, console = open_company(company), screen()
    start, end = parse_night(first), parse_night(last)
    if end < start:
        raise Rejected("LAST", f"a night from {start} on", str(end))
    refuse_open_night(end, ws.clock)
    ensure_world(ws, console)
    raise typer.Exit(night.backfill(ws, start, end, console))


@app.command()
def up(company: CompanyFile = None) -> None:
    """Start the local stack; Ctrl-C stops all of it.

    Airflow, MLflow, the online service and the stream; their addresses are printed.
    """
    from rapport.stack import services

    ws, console = open_company(company), screen()
    ensure_world(ws, console)
    raise typer.Exit(services.up(ws, console))


@app.command()
def status(company: CompanyFile = None, as_json: AsJson = False) -> None:
    """Show the ring at a glance."""
    ws = open_company(company)
    if as_json:
        from rapport.cli.status import ring_status

        print_json(ring_status(ws))
    else:
        print_status(ws, screen())


@app.command()
def lookup(customer: str, company: CompanyFile = None) -> None:
    """Show the online features of CUSTOMER with their ages."""
    from rapport.cli.lookup import lookup_table
    from serving.lookup.customer import lookup_customer as read

    rows = read(open_company(company), customer)
    screen().print(lookup_table(customer, rows))


@app.command()
def serve(
    company: CompanyFile = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; else RAPPORT_SERVE_PORT.")] = None,
) -> None:
    """Serve features and scores over HTTP."""
    from serving.http.server import serve as run

    def conversations() -> "Conversations":
        # It brings the compiler: made in a thread of the service, which answers meanwhile.
        from features.catalogue import catalogue_of
        from features.stream.conversation import Conversations

        return Conversations(catalogue_of(ws.company))

    ws = open_company(company, "info")
    run(ws, port or ws.settings.serve_port, conversations)


@app.command()
def stream(company: CompanyFile = None) -> None:
    """Fold the event log into live values; Ctrl-C stops it."""
    from rapport.stack.stream import run

    run(open_company(company, "info"), screen())


@app.command()
def parity(
    company: CompanyFile = None,
    night: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Night; else the last built one.")] = None,
) -> None:
    """Compare what was served with what the facts say; exit code 1 where it differs."""
    from infra.clock import parse_night
    from rapport.cli.parity import measure_parity, print_report

    ws = open_company(company)
    raise typer.Exit(print_report(measure_parity(ws, parse_night(night) if night else None), screen()))


@app.command()
def replay(
    source: str,
    company: CompanyFile = None,
    night: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Only what this night set aside.")] = None,
) -> None:
    """Bring streamed events of SOURCE back from quarantine.

    After a fix: what is accepted by now goes into the log once more.
    """
    from infra.clock import parse_night
    from validation.bronze.replay import replay as bring_back

    found = bring_back(open_company(company), source, parse_night(night) if night else None)
    screen().print(", ".join(f"{number} {name}" for name, number in found.items()))


@app.command()
def rows() -> None:
    """Show which requirement is shown by which test.

    It comes from the last make test and make assure.
    """
    from infra.settings import Settings
    from rapport.cli.rows import missing_parts, read_rows, rows_table

    home = Settings().home
    screen().print(rows_table(read_rows(home)))
    for part in missing_parts(home):
        typer.echo(f"make {part} has not been run.", err=True)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def airflow(context: typer.Context, company: CompanyFile = None) -> None:
    """Run a command of the company's Airflow.

    Such as: rapport airflow dags list-runs nightly
    """
    from rapport.stack.airflow_home import passthrough

    passthrough(open_company(company), context.args)


def ensure_world(ws: "Workspace", console: "Console") -> None:
    """Let the outside world of a simulated company happen, if it has not yet."""
    if ws.company.world is None:
        return
    from rapport.world import ensure

    with console.status("simulating the company") as shown:
        ensure(ws, shown.update)


def print_status(ws: "Workspace", console: "Console") -> None:
    """Print the ring at a glance."""
    from rapport.cli.status import ring_status, status_tables

    for table in status_tables(ring_status(ws)):
        console.print(table)
