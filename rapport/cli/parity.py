"""``rapport parity``: is what was served what the facts say? The report of ``features.parity_report`` as a table.

The exit code says it to programs: 0 where nothing differs, or nothing could be judged yet; 1 where something does.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from infra.workspace import Workspace
from rapport.cli.tables import table
from rapport_feast.errors import Rejected

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MISMATCH = 1
ROWS = {
    "pending": "know more than the night; a later night judges them",
    "retired": "of views or nights that have been replaced since",
    "unreadable": "lines that are no sample",
    "overdue": "live rows passed off as fresh although the stream lay behind",
}
SHOWN, OF_EACH = 12, 3


def measure_parity(ws: Workspace, night: date | None) -> dict[str, Any]:
    """Judge a night's samples, by default those of the newest night, and write the report.

    Raises
    ------
    Rejected
        No night was built, or not this one.
    """
    from features.parity.compare import newest_night
    from features.parity.report import measure

    wanted = night or newest_night(ws)
    if wanted is None:
        raise Rejected("night", "a night whose features are built", "none", "Run the nightly ring first.")
    return measure(ws, wanted)


def print_report(report: Mapping[str, Any], console: "Console") -> int:
    """Print a report and the path of its picture; return the exit code."""
    for made in report_tables(report):
        console.print(made)
    for line in report_lines(report):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return exit_code(report)


def exit_code(report: Mapping[str, Any]) -> int:
    """Return the exit code that a report stands for."""
    return MISMATCH if report["verdict"] in {"mismatch", "overdue"} else 0


def report_tables(report: Mapping[str, Any]) -> Iterable["Table"]:
    """Yield what was counted by view, what differs by feature, and the first differences."""
    causes = sorted(report["values"]["mismatches"])
    heads = ("sampled", "equal", "late", *causes)
    yield table(
        f"parity by night {report['night']}: {report['verdict']}",
        ("view", *heads),
        [(view, *_cells(counted, causes)) for view, counted in _by_view(report["features"]).items()],
    )
    differing = [one for one in report["features"] if one["equal"] < one["sampled"]]
    if differing:
        differing.sort(key=lambda one: (-sum(one["mismatches"].values()), -one["late"]))
        rows = [(one["feature"], *_cells(_flat(one), causes), one["view"]) for one in differing[:SHOWN]]
        yield table(f"features that differ ({len(differing)})", ("feature", *heads, "view"), rows)
    if report["examples"]:
        by_cause: dict[str, list[tuple[Any, ...]]] = {}
        for one in report["examples"]:
            example = (_cause(one), one["feature"], one["served"], one["truth"], _why(one))
            by_cause.setdefault(one["cause"], []).append(example)
        cells = [example for found in by_cause.values() for example in found[:OF_EACH]]
        yield table("for example", ("cause", "feature", "served", "true", "because of"), cells)


def report_lines(report: Mapping[str, Any]) -> Iterable[str]:
    """Yield the rest of a report in sentences."""
    from features.parity.report import sentence

    rows = report["rows"]
    yield f"rows: {rows['judged']:,} judged" + "".join(
        f", {rows[name]:,} {name} ({meaning})" for name, meaning in ROWS.items() if rows[name]
    )
    yield sentence(report)
    if report["values"]["sampled"]:
        yield f"mismatch rate {report['mismatch_rate']:.4%}, late {report['late_rate']:.4%}"
    else:
        yield "RAPPORT_SAMPLE_RATE says which share of the answers is kept."
    yield f"plot: {report['plot']}"


def _by_view(features: Iterable[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    views: dict[str, Counter[str]] = {}
    for one in features:
        views.setdefault(one["view"], Counter()).update(_flat(one))
    return views


def _flat(one: Mapping[str, Any]) -> Counter[str]:
    return Counter({name: one[name] for name in ("sampled", "equal", "late")} | dict(one["mismatches"]))


def _cells(counted: Mapping[str, int], causes: Iterable[str]) -> tuple[int, ...]:
    return tuple(counted.get(name, 0) for name in ("sampled", "equal", "late", *causes))


def _cause(one: Mapping[str, Any]) -> str:
    return f"{one['cause']} ({one['detail']})" if one["detail"] else str(one["cause"])


def _why(one: Mapping[str, Any]) -> str:
    events = one["events"]
    more = f" and {len(events) - 3} more" if len(events) > 3 else ""
    return ", ".join(events[:3]) + more if events else one["request"]
