"""The account of the door: rows read = silver + quarantine + duplicates, per night, source, file and reason.

The gate keeps it in the notes of silver's commits; reading it needs no Great Expectations.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date
from typing import TypedDict

import duckdb

from infra.workspace import Workspace


class Account(TypedDict):
    """What became of the rows of one file that were available in one night."""

    read: int
    silver: int
    duplicates: int
    reasons: dict[str, int]


ACCOUNT_SQL = """SELECT known_day::VARCHAR, source, file, CASE WHEN rejected._row IS NOT NULL THEN rejected.reason
        WHEN repeats._row IS NOT NULL THEN 'duplicates' ELSE 'silver' END AS fate, count(*)
    FROM parsed LEFT JOIN rejected USING (_row) LEFT JOIN repeats USING (_row) GROUP BY ALL ORDER BY ALL"""

Nightly = Mapping[str, Mapping[str, Mapping[str, Account]]]


def fed_facts(ws: Workspace) -> tuple[str, ...]:
    """Return the facts that the company's sources feed, in the order of the company file."""
    return tuple(dict.fromkeys(source.fact for source in ws.company.sources))


def accounts(ws: Workspace, fact: str, night: date) -> Iterator[tuple[str, str, Account]]:
    """Yield source, file and account of every night up to one; the newest run of a night counts."""
    seen: set[str] = set()
    for commit in ws.lake.commits(f"silver/{fact}"):
        nights: Nightly = (commit.notes or {}).get("nights", {})
        owned = {str(day) for day in commit.nights if day <= night} - seen
        seen |= owned
        for day in sorted(owned & set(nights)):
            for source, files in nights[day].items():
                yield from ((source, file, account) for file, account in files.items())


def totals(found: Iterator[tuple[str, str, Account]]) -> dict[str, int]:
    """Return the sums of accounts."""
    sums = {"read": 0, "silver": 0, "quarantined": 0, "duplicates": 0}
    for _, _, account in found:
        sums["read"] += account["read"]
        sums["silver"] += account["silver"]
        sums["duplicates"] += account["duplicates"]
        sums["quarantined"] += sum(account["reasons"].values())
    return sums


def counts(ws: Workspace, night: date) -> dict[str, dict[str, int]]:
    """Return per fact the rows read, in silver, quarantined and left out as duplicates, of all nights up to one.

    Returns
    -------
    dict
        ``{fact: {"read", "silver", "quarantined", "duplicates"}}``; zeros where the gate never ran.
    """
    return {fact: totals(accounts(ws, fact, night)) for fact in fed_facts(ws)}


def reasons(ws: Workspace, fact: str, night: date) -> dict[tuple[str, str, str], int]:
    """Return the quarantined rows of all nights up to one by source, file and reason."""
    found: Counter[tuple[str, str, str]] = Counter()
    for source, file, account in accounts(ws, fact, night):
        found.update({(source, file, reason): n for reason, n in account["reasons"].items()})
    return dict(found)


def tally(connection: duckdb.DuckDBPyConnection) -> Nightly:
    """Return what became of every parsed row, per night, source and file."""
    nights: dict[str, dict[str, dict[str, Account]]] = {}
    for night, source, file, fate, rows in connection.execute(ACCOUNT_SQL).fetchall():
        files = nights.setdefault(night, {}).setdefault(source, {})
        kept = files.setdefault(file, Account(read=0, silver=0, duplicates=0, reasons={}))
        kept["read"] += rows
        if fate == "silver":
            kept["silver"] += rows
        elif fate == "duplicates":
            kept["duplicates"] += rows
        else:
            kept["reasons"][fate] = rows
    return nights
