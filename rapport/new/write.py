"""A new company's folder, written from the template beside this file, with rows that are made up for it."""

import random
import re
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rapport_feast.errors import Rejected

TEMPLATE = Path(__file__).parent / "template"
NAME = re.compile(r"[a-z][a-z0-9_]*")
CUSTOMERS, DAYS, SEED = 60, 150, 7
LATE_DAYS = 5


def write_company(name: str, folder: Path, last: date) -> Path:
    """Write a company that runs at once; returns its folder.

    Parameters
    ----------
    name
        Its name, and that of the new folder.
    folder
        Where the new folder goes.
    last
        The last day of its rows.

    Raises
    ------
    Rejected
        The name is none, or there is such a folder already.
    """
    if not NAME.fullmatch(name):
        raise Rejected("name", "small letters, digits and underscores", repr(name))
    target = folder / name
    if target.exists():
        raise Rejected("folder", "a new one", f"{target}", "Take another name, or --in another folder.")
    shutil.copytree(TEMPLATE, target, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("company.toml", "README.md"):
        text = (target / file).read_text(encoding="utf-8")
        text = text.replace("NAME", name).replace("LAST", str(last)).replace("PATH", str(target))
        (target / file).write_text(text, encoding="utf-8")
    (target / "data").mkdir()
    orders, parcels = _rows(last)
    (target / "data" / "orders.csv").write_text("\n".join(orders) + "\n", encoding="utf-8")
    (target / "data" / "parcels.txt").write_text("\n".join(parcels) + "\n", encoding="utf-8")
    return target


def _rows(last: date) -> tuple[list[str], list[str]]:
    """Make up orders and their parcels: one customer in three lives where parcels come late."""
    chance = random.Random(SEED)  # noqa: S311 -- no secret, and the same rows each time
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    orders, parcels = ["line,customer,ordered_at,order,cents,gift"], []
    for number in range(CUSTOMERS * DAYS // 15):
        customer = chance.randrange(CUSTOMERS)
        ordered = end - timedelta(minutes=1 + chance.randrange(DAYS * 24 * 60))
        gift = "yes" if chance.random() < 0.2 else "no"
        orders.append(f"L{number},C{customer},{_text(ordered)},O{number},{chance.randrange(500, 20_000)},{gift}")
        days = chance.choice((5, 6, 7, 9) if chance.random() < (0.6 if customer % 3 == 0 else 0.1) else (1, 2, 3))
        came = ordered + timedelta(days=days, hours=2)
        if came.date() <= last:
            note = "asked jo@example.org" if number % 40 == 0 else ""
            refunded = "yes" if days >= LATE_DAYS and chance.random() < 0.5 else "no"
            parcels.append(f"P{number}|C{customer}|{_text(came)}|delivered|{days}|{note}|{refunded}")
    return orders, parcels


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
