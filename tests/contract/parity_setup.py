"""A small company with two nights behind it, and an honest service of which samples are taken: the plain oracle.

What is late, revised, retracted or linked is placed by hand, so that a test knows which events explain what.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from features.catalogue import standard
from features.declare.group import Group
from features.parity.samples import file_of
from features.store.published import nights_of, path_of, write_record
from infra.clock import cutoff, start_of
from infra.workspace import Workspace
from rapport_feast.publications import Night, Record
from rapport_feast.times import DAY
from tests.property.oracle import Oracle
from tests.run_nights import run
from tests.small_companies import NIGHT, deliver, source, workspace

LAST = NIGHT + DAY
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
CLICK = ("event_id", "source_id", "event_time", "kind", "session_id", "page", "duration_ms", "revision", "retracted")
LINK = ("event_id", "source_id", "event_time", "kind", "customer", "backwards")
ORDER = ("event_id", "source_id", "event_time", "kind", "order_id", "amount_minor", "currency")
PAGES, KINDS = (
    ("home", "help", "shop", "pricing", "status"),
    ("page_view", "page_view", "login", "product_use", "search"),
)
PEOPLE = [f"C{number:02}" for number in range(12)]
GROUP = standard().group("customer_activity")
ORDERS = standard().group("customer_orders")
Row = dict[str, Any]


def at(hour: float, day: int = 0) -> datetime:
    """Return an hour of the first night's day, or of another one."""
    return start_of(NIGHT) + day * DAY + hour * HOUR


@dataclass(frozen=True)
class Stage:
    """The company, and what the honest service says."""

    ws: Workspace

    @cached_property
    def oracle(self) -> Oracle:
        """The plain oracle over everything in silver."""
        return self._oracle(GROUP, self._rows("identity_links"))

    @cached_property
    def unlinked(self) -> Oracle:
        """The same for a service that knows no identity links."""
        return self._oracle(GROUP, [])

    @cached_property
    def orders(self) -> Oracle:
        """The oracle of a nightly group."""
        return self._oracle(ORDERS, self._rows("identity_links"))

    def _oracle(self, group: Group, links: Sequence[Mapping[str, Any]]) -> Oracle:
        return Oracle(group, self._rows(group.fact), links, self.ws.company.identity)

    def _rows(self, fact: str) -> list[Row]:
        rows: list[Row] = self.ws.lake.read(f"silver/{fact}", partition="known_day").to_pylist()
        return rows

    def sample(self, who: str, served: datetime, **other: Any) -> Row:
        """Return the honest sample of a live row; ``other`` takes the place of what it says."""
        applied = served - SECOND
        written = served - 2 * MINUTE
        told: Row = {
            "request": f"{who}-{served:%d%H%M%S%f}",
            "served_us": micros(served),
            "applied_us": micros(applied),
            "entity": "customer",
            "key": "customer_id",
            "id": who,
            "view": GROUP.live_view,
            "rung": "live",
            "event_us": micros(written),
            "known_us": micros(written),
            "definition": GROUP.version,
        }
        if "values" not in other:
            told["values"] = self.oracle.live(who, served, applied)
        return told | other

    def nightly(self, who: str, served: datetime, night: int = 0, **other: Any) -> Row:
        """Return the honest sample of a nightly row of customer_orders."""
        ending = cutoff(NIGHT + night * DAY)
        told = self.sample(who, served, values={}, view=ORDERS.view, rung="nightly", definition=ORDERS.version)
        told |= {"event_us": micros(ending), "known_us": micros(ending)}
        return told | {"values": self.orders.night(ending.date())[who]} | other

    def serve(self, samples: Sequence[Row]) -> None:
        """Leave nothing but these samples, in the files of the days on which they were served."""
        for old in self.ws.folder("served").iterdir():
            old.unlink()
        for told in samples:
            served = start_of(NIGHT) + timedelta(microseconds=told["served_us"] - micros(start_of(NIGHT)))
            with file_of(self.ws, served.date()).open("a", encoding="utf-8") as out:
                out.write(json.dumps(told) + "\n")


def micros(moment: datetime) -> int:
    """Return a moment in microseconds."""
    return (moment - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(microseconds=1)


def make_stage(home: Path) -> Stage:
    """Make the company and run both of its nights."""
    told = {
        "behaviours": source("behaviours", [*CLICK, "exported_at"]),
        "identity_links": source("identity_links", [*LINK, "exported_at"]),
        "transactions": source("transactions", [*ORDER, "exported_at"]),
    }
    ws = workspace(home, *told.values(), threads=1)
    for night in (NIGHT, LAST):
        day = (night - NIGHT).days
        known = [row for row in _clicks() if row["exported_at"].date() == night]
        deliver(home, f"behaviours-{night}.csv", [_text(row) for row in known], [*CLICK, "exported_at"])
        links = [row for row in _links() if row["exported_at"].date() == night]
        deliver(home, f"identity_links-{night}.csv", [_text(row) for row in links], [*LINK, "exported_at"])
        orders = [_order(who, number, day) for who in PEOPLE for number in range(3)]
        deliver(home, f"transactions-{night}.csv", [_text(row) for row in orders], [*ORDER, "exported_at"])
    run(ws, [NIGHT, LAST])
    published = {
        str(night): Night(known.files, f"{night + DAY}T02:00:00+00:00")
        for night, known in nights_of(ws, ORDERS).items()
    }
    write_record(path_of(ws), Record(views={ORDERS.view: published}))
    return Stage(ws)


def _clicks() -> list[Row]:
    """Return clicks of two days, known a second later; and those of C00 to C03 that are not so simple."""
    chance = random.Random(5)
    rows = []
    for number in range(900):
        when = at(0.1 + 47.8 * chance.random())
        who = chance.choice([*PEOPLE[4:], "V04", "V05"])
        rows.append(_click(f"e{number}", who, when, chance))
    for who in PEOPLE[:4]:
        rows += [_click(f"{who}-{hour}", who, at(hour), chance) for hour in (2, 5, 8, 9.5)]
    rows.append(_click("late", "C00", at(9.8), chance, exported_at=at(7, 1)))
    rows += [
        _click("revised", "C01", at(9.7), chance, page="home", duration_ms=1000, revision=1),
        _click("revised", "C01", at(9.7), chance, page="home", duration_ms=9000, revision=2, exported_at=at(8, 1)),
        _click("gone", "C02", at(9.6), chance, page="help", duration_ms=500, revision=1),
        _click(
            "gone",
            "C02",
            at(9.6),
            chance,
            page="help",
            duration_ms=500,
            revision=2,
            retracted="true",
            exported_at=at(8, 1),
        ),
        _click("found", "V03", at(9.9), chance),
    ]
    return rows


def _click(event_id: str, who: str, when: datetime, chance: random.Random, **other: Any) -> Row:
    return {
        "event_id": event_id,
        "source_id": who,
        "event_time": when,
        "kind": "page_view" if who < "C04" else chance.choice(KINDS),
        "session_id": f"s{chance.randrange(5)}",
        "page": chance.choice(PAGES),
        "duration_ms": chance.randrange(60_000),
        "revision": "",
        "retracted": "",
        "exported_at": when + SECOND,
    } | other


def _links() -> list[Row]:
    """Return who the visitors turned out to be: two at once, one a day later."""
    told = [("C04", "V04", at(0.05)), ("C05", "V05", at(6)), ("C03", "V03", at(9, 1))]
    return [
        {
            "event_id": f"link-{visitor}",
            "source_id": visitor,
            "event_time": when,
            "kind": "linked",
            "customer": who,
            "backwards": "true",
            "exported_at": when + SECOND,
        }
        for who, visitor, when in told
    ]


def _order(who: str, number: int, day: int) -> Row:
    return {
        "event_id": f"o{day}-{who}-{number}",
        "source_id": who,
        "event_time": at(3 + 5 * number, day),
        "kind": "order",
        "order_id": f"o{day}-{who}-{number}",
        "amount_minor": 100 * (number + 1) + int(who[1:]) + 7 * day,
        "currency": "EUR",
        "exported_at": at(3 + 5 * number, day) + SECOND,
    }


def _text(row: Mapping[str, Any]) -> Row:
    return {name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in row.items()}
