"""Writes a whole simulated company into a folder: the outside world that the sources of the simulated company read.

The truth goes into ``truth/`` beside the feeds; only tests read it.
"""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from infra.workspace import Workspace
from rapport.world import chats, consents, crm, decisions, identities, shop, surveys, tickets, web
from rapport.world.chance import numbered, tally
from rapport.world.faults import Feed, deliver
from rapport.world.settings import WorldSettings, read_settings
from rapport.world.truth import ACTIONS, BASE, EFFECTS, TYPES, Population, States, live, populate
from rapport.world.write import clear, replace, write_feed, write_truth
from rapport_feast.locks import exclusive_lock
from rapport_feast.times import DAY

Progress = Callable[[str], None]


class Manifest(BaseModel):
    """What a world holds: its nights, the rows delivered per source, and the digest of its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    first_night: date
    last_night: date
    rows: dict[str, int]


def ensure(ws: Workspace, progress: Progress | None = None) -> Manifest | None:
    """Write the company's world unless it is there; a company that is not simulated has none.

    One without a ``start`` ends with the newest night that is over, and keeps it.

    Raises
    ------
    Rejected
        A setting in the company's ``[world]`` table is unknown or out of bounds.
    """
    if ws.company.world is None:
        return None
    folder, settings = ws.folder("world"), read_settings(ws.company.world)
    if "start" not in ws.company.world:
        there = read_manifest(folder)
        start = there.first_night if there else ws.clock.now().date() - settings.days * DAY
        settings = settings.model_copy(update={"start": start})
    return generate(folder, settings, progress)


def generate(folder: Path, settings: WorldSettings, progress: Progress | None = None) -> Manifest:
    """Write a world; nothing is done when the folder holds that of the same settings.

    Parameters
    ----------
    folder
        Made if it is not there; another world in it is replaced.
    settings
        What the world is like; the same settings give the same bytes.
    progress
        Called with one line of text per source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / ".lock"):
        there = read_manifest(folder)
        if there is not None and there.digest == settings.digest:
            return there
        clear(folder)
        rows = _write(folder, settings, progress or (lambda line: None))
        manifest = Manifest(
            digest=settings.digest, first_night=settings.start, last_night=settings.last_night, rows=rows
        )
        replace(folder / "manifest.json", manifest.model_dump_json(indent=2).encode())
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a finished world, or None if there is no whole one."""
    try:
        return Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _write(folder: Path, settings: WorldSettings, progress: Progress) -> dict[str, int]:
    progress(f"world: {settings.customers:,} customers, {settings.days} days from {settings.start}")
    people = populate(settings)
    states = live(settings, people)
    rows = {}
    for feed in _feeds(folder, settings, people, states):
        delivered = deliver(feed, settings)
        write_feed(folder, feed, delivered, settings)
        rows[feed.source] = len(delivered)
        progress(f"world: {feed.source}, {len(delivered):,} rows")
    _write_states(folder, settings, people, states)
    return rows


def _feeds(folder: Path, settings: WorldSettings, people: Population, states: States) -> Iterator[Feed]:
    """Yield the feeds, each after those that it looks at, and write the truth about each."""
    versions = crm.change(settings, people)
    yield crm.feed(settings, versions)
    opened = tickets.open_tickets(settings, people, states)
    write_truth(folder, "tickets", tickets.hidden(opened))
    yield tickets.feed(settings, opened)
    threads, turns = chats.converse(settings, opened, states)
    yield chats.feed(settings, threads, turns)
    orders = shop.place(settings, states)
    yield shop.feed(settings, people, states, orders, versions)
    sessions, clicks = web.browse(settings, people, states)
    visits = identities.visit(settings, sessions)
    yield from web.feeds(clicks, visits.visitor)
    yield identities.login_feed(settings, identities.log_in(settings, people, sessions, visits))
    merges = identities.merge(settings, people)
    yield identities.merge_feed(settings, merges)
    write_truth(folder, "identities", identities.hidden(sessions, visits, merges))
    write_truth(folder, "visits", identities.hidden_visits(sessions, visits))
    grumbles = chats.grumbles_by_day(settings, threads, turns)
    ordered, asked = tally(settings, orders.customer, orders.day), tally(settings, opened.customer, opened.day)
    decided = decisions.decide(settings, states, decisions.Seen(ordered, asked, grumbles))
    write_truth(folder, "decisions", decisions.hidden(decided))
    yield decisions.action_feed(settings, decided)
    yield decisions.outcome_feed(settings, decided)
    yield surveys.feed(settings, people, states, opened)
    yield consents.feed(settings, versions, states)


def _write_states(folder: Path, settings: WorldSettings, people: Population, states: States) -> None:
    """Write the hidden states per customer and day, and the true effects per type."""
    n, days = settings.customers, settings.days
    exists = (np.arange(days) > people.joined[:, None]).ravel()
    columns = {
        "customer_no": np.repeat(numbered("C", np.arange(n), 6), days),
        "day": np.tile(np.arange(days, dtype=np.int32), n),
        "type": pd.Categorical.from_codes(states.type.ravel(), categories=pd.Index(TYPES)),
        "active": states.active.ravel(),
        "churn_probability": np.where(states.active, 1 - (1 - np.minimum(states.lapse_hazard, 1)) ** 30, 1.0).ravel(),
    }
    names = ("satisfaction", "price_sensitivity", "trouble", "frustration", "lapse_hazard", "order_rate")
    columns |= {name: getattr(states, name).astype(np.float32).ravel() for name in names}
    write_truth(folder, "states", pd.DataFrame(columns)[exists])
    kinds, actions = np.repeat(TYPES, len(ACTIONS)), np.tile(ACTIONS, len(TYPES))
    effects = {"type": kinds, "action": actions, "base": np.repeat(BASE, len(ACTIONS)), "effect": EFFECTS.ravel()}
    write_truth(folder, "effects", pd.DataFrame(effects))
