"""Who is who: visitors of the web site who turn out to be customers, and two customer numbers that are one person.

A visitor is a device. The site learns whose it is by a log-in; some devices are shared, some links are mistaken and
withdrawn. Nobody but the truth knows who sat at a device that nobody logged in from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import DAY, HOUR, MINUTE, Array, Ints, numbered, start_us, stream, whole, without, words
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.truth import Population
from rapport.world.web import Sessions

EXPORT = 4 * HOUR
"""The first full export takes the first hours of the first night, and nothing of it is late."""
MERGED = 0.008
"""Customer numbers that turn out to be another's, per customer."""
MISTAKES = 10
"""Mistaken links per device, as a multiple of the share of withdrawals."""
KINDS = ("linked", "unlinked")


@dataclass(frozen=True)
class Visits:
    """On which device each session took place, and whether nobody was logged in; arrays of shape (sessions,)."""

    device: Ints
    unknown: Array
    names: Array

    @property
    def visitor(self) -> Array:
        """The visitor's id per session; None where the site knows the customer."""
        return without(self.names[self.device], ~self.unknown)


@dataclass(frozen=True)
class Links:
    """What an identity feed says; each array has shape (links,). A negative customer is nobody."""

    id: Array
    customer: Ints
    at: Ints
    backwards: Array
    mistaken: Array


def visit(settings: WorldSettings, sessions: Sessions) -> Visits:
    """Draw the devices: one in three customers has a second one, one in twenty shares that of another.

    Half of the sessions in which nobody logs in are those of a visitor; in the others the site remembers the customer.
    """
    rng, n, m = stream(settings, "devices"), settings.customers, len(sessions.begin)
    shares = rng.random(n) < 0.05
    other = (np.arange(n) + rng.integers(1, n, n)) % n
    main = np.where(shares, other, np.arange(n))
    second = np.where(rng.random(n) < 0.35, n + np.arange(n), main)
    device = np.where(rng.random(m) < 0.3, second[sessions.customer], main[sessions.customer])
    unknown = ~sessions.login & (rng.random(m) < 0.5)
    return Visits(device, unknown, numbered("B", rng.permutation(2 * n)))


def log_in(settings: WorldSettings, people: Population, sessions: Sessions, visits: Visits) -> Links:
    """Return what the log-ins tell: a link whenever a device changes hands, and some log-outs between.

    Half of the customers' own devices were known before the first night: a full export tells them.
    """
    rng, begin = stream(settings, "logins"), start_us(settings)
    own = sessions.customer[visits.device == sessions.customer]
    known = people.initial[np.isin(people.initial, own) & (rng.random(len(people.initial)) < 0.5)]
    known = people.initial[:1] if len(known) == 0 else known
    device = np.concatenate([known, visits.device[sessions.login]])
    customer = np.concatenate([known, sessions.customer[sessions.login]])
    at = np.concatenate([begin + whole(rng.uniform(0, EXPORT, len(known))), sessions.begin[sessions.login]])
    old = np.arange(len(at)) < len(known)
    order = np.lexsort((at, device))
    device, customer, at, old = device[order], customer[order], at[order], old[order]
    first = np.append(True, np.diff(device) != 0)
    taken = ~first & np.append(False, np.diff(customer) != 0)
    backwards = first & (old | (rng.random(len(at)) < 0.8))
    out = taken & (rng.random(len(at)) < 0.6)
    gap = np.append(0, np.diff(at))[out]
    left = whole(at[out] - gap * rng.uniform(0.1, 0.8, int(out.sum())))
    told = first | taken
    wrong = _mistakes(settings, people, np.unique(device), rng)
    parts = (
        (device[told], customer[told], at[told], backwards[told], False),
        (device[out], np.full(len(left), -1), left, np.zeros(len(left), bool), False),
        (*wrong, True),
    )
    return _links([Links(visits.names[d], c, t, b, np.full(len(t), m)) for d, c, t, b, m in parts])


def merge(settings: WorldSettings, people: Population) -> Links:
    """Draw the customer numbers that turn out to be another's; some merges are mistaken."""
    rng = stream(settings, "merges")
    pairs = rng.permutation(people.initial)
    count = max(1, round(MERGED * settings.customers))
    at = start_us(settings) + rng.uniform(0, settings.days * DAY, count)
    old = np.arange(count) <= 0.1 * count
    moment = whole(np.where(old, start_us(settings) + rng.uniform(0, EXPORT, count), at))
    mistaken = ~old & (rng.random(count) < MISTAKES * settings.retraction_share)
    away, kept = pairs[:count], pairs[count : 2 * count]
    return _links([Links(numbered("C", away, 6), kept, moment, np.ones(count, bool), mistaken)])


def login_feed(settings: WorldSettings, links: Links) -> Feed:
    """Return the site's feed of who logged in from which device."""
    rows = pd.DataFrame(
        {
            "link_id": numbered("J", np.arange(len(links.at))),
            "visitor": links.id,
            "action": words(KINDS, (links.customer < 0).astype(int)),
            "customer_no": without(numbered("C", links.customer, 6), links.customer < 0),
            "backwards": links.backwards,
            "at": links.at,
            "deleted": np.zeros(len(links.at), bool),
        }
    )
    spoils = ({"action": "guessed"}, {"at": "at breakfast"}, {"action": "linked", "customer_no": ""})
    return _feed(settings, "logins", "web/logins-{night}.jsonl", ("link_id", "at"), rows, spoils, links.mistaken)


def merge_feed(settings: WorldSettings, links: Links) -> Feed:
    """Return the CRM's feed of numbers that were merged into others."""
    rows = pd.DataFrame(
        {
            "merge_id": numbered("G", np.arange(len(links.at))),
            "customer_no": links.id,
            "merged_into": numbered("C", links.customer, 6),
            "merged_at": links.at,
            "deleted": np.zeros(len(links.at), bool),
        }
    )
    spoils = ({"merged_into": ""}, {"merged_at": "last year"})
    path = "crm/merges-{night}.csv"
    return _feed(settings, "merges", path, ("merge_id", "merged_at"), rows, spoils, links.mistaken)


def hidden(sessions: Sessions, visits: Visits, merges: Links) -> pd.DataFrame:
    """Return the truth: who used each device, one row per customer of it, and whose each merged number is."""
    used = pd.DataFrame({"device": visits.device, "customer": sessions.customer}).drop_duplicates()
    shared = used.groupby("device")["customer"].transform("size").to_numpy() > 1
    visitors = {
        "id": visits.names[used["device"].to_numpy()],
        "customer_no": numbered("C", used["customer"].to_numpy(), 6),
    }
    right = ~merges.mistaken
    persons = {"id": merges.id[right], "customer_no": numbered("C", merges.customer[right], 6)}
    parts = [
        pd.DataFrame({"id_space": "visitor", **visitors, "shared": shared}),
        pd.DataFrame({"id_space": "crm", **persons, "shared": False}),
    ]
    return pd.concat(parts, ignore_index=True)


def hidden_visits(sessions: Sessions, visits: Visits) -> pd.DataFrame:
    """Return the truth about the sessions of visitors: who it was."""
    where = np.flatnonzero(visits.unknown)
    return pd.DataFrame(
        {
            "session": numbered("S", where),
            "visitor": visits.names[visits.device[where]],
            "customer_no": numbered("C", sessions.customer[where], 6),
        }
    )


def _mistakes(
    settings: WorldSettings, people: Population, device: Ints, rng: Generator
) -> tuple[Ints, Ints, Ints, Array]:
    """Draw links of devices to customers who have nothing to do with them."""
    luck = rng.random(len(device))
    device = device[luck < min(MISTAKES * settings.retraction_share, 0.5)]
    other = people.initial[rng.integers(0, len(people.initial), len(device))]
    at = whole(start_us(settings) + EXPORT + rng.uniform(0, settings.days * DAY - EXPORT, len(device)))
    return device, other, at, rng.random(len(device)) < 0.5


def _links(parts: list[Links]) -> Links:
    """Join links in the order of time."""
    joined = [np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)]
    order = np.argsort(joined[2], kind="stable")
    return Links(*(column[order] for column in joined))


def _feed(
    settings: WorldSettings,
    source: str,
    path: str,
    key: tuple[str, str],
    rows: pd.DataFrame,
    spoils: tuple[Mapping[str, str | float], ...],
    mistaken: Array,
) -> Feed:
    full = start_us(settings) + EXPORT
    return Feed(source, path, *key, rows, spoils, _revise, {"deleted": True}, mistaken, prompt_until=full)


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Correct the time: it was known somewhat earlier."""
    time = "at" if "at" in rows else "merged_at"
    return rows.assign(**{time: rows[time] - whole(rng.uniform(MINUTE, HOUR, len(rows)))})
