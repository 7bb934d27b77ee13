"""The CRM's feed: versions of customers. Every initial customer is in the first night's file; others join later."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import HOUR, Array, Ints, moments, numbered, occurrences, start_us, stream, whole, words
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.truth import SEGMENTS, Population

TIERS = ("bronze", "silver", "gold", "platinum")
PLANS = ("basic", "plus", "pro")
REGIONS = ("north", "south", "east", "west", "abroad")
LANGUAGES = ("de", "en", "fr", "it", "nl")
CHANGE_RATE = 0.0018
"""Changes per customer and day."""


@dataclass(frozen=True)
class Versions:
    """Versions of customers as codes, in the order of their time; each array has shape (versions,)."""

    customer: Ints
    at: Ints
    number: Ints
    codes: dict[str, Ints]
    plan_changed: Array


def change(settings: WorldSettings, people: Population) -> Versions:
    """Draw every customer's first version and the later ones."""
    rng = stream(settings, "crm")
    first = np.arange(settings.customers)
    rate = np.where(np.arange(settings.days) > people.joined[:, None], CHANGE_RATE, 0.0)
    later, day = occurrences(rate, rng)
    customer = np.concatenate([first, later])
    at = np.concatenate([_joined_at(settings, people, rng), moments(settings, day, rng)])
    order = np.lexsort((at, customer))
    customer, at = customer[order], at[order]
    number = np.arange(len(order)) - np.searchsorted(customer, customer)
    codes = _walk(customer, _first_codes(people, rng), rng)
    plan_changed = np.append(False, np.diff(codes["plan"]) != 0) & (number > 0)
    by_time = np.argsort(at, kind="stable")
    return Versions(
        customer[by_time],
        at[by_time],
        number[by_time] + 1,
        {k: v[by_time] for k, v in codes.items()},
        plan_changed[by_time],
    )


def feed(settings: WorldSettings, versions: Versions) -> Feed:
    """Return the CRM's feed."""
    codes = versions.codes
    rows = pd.DataFrame(
        {
            "change_id": numbered("V", np.arange(len(versions.at))),
            "customer_no": numbered("C", versions.customer, 6),
            "change_no": versions.number,
            "segment": words(SEGMENTS, codes["segment"]),
            "tier": words(TIERS, codes["tier"]),
            "region": words(REGIONS, codes["region"]),
            "lang": words(LANGUAGES, codes["lang"]),
            "plan": words(PLANS, codes["plan"]),
            "changed_at": versions.at,
        }
    )
    spoils = ({"tier": "diamond"}, {"changed_at": "31/31/2026"}, {"lang": "Klingon"})
    path, full = "crm/customers-{night}.csv", start_us(settings) + 4 * HOUR
    return Feed("crm", path, "change_id", "changed_at", rows, spoils, _revise, prompt_until=full)


def _joined_at(settings: WorldSettings, people: Population, rng: Generator) -> Ints:
    """Return the first version's time: a full export in the first hours, or the day of joining."""
    full = start_us(settings) + whole(rng.uniform(0, 4 * HOUR, settings.customers))
    return np.where(people.joined < 0, full, moments(settings, np.maximum(people.joined, 0), rng))


def _first_codes(people: Population, rng: Generator) -> dict[str, Ints]:
    n = len(people.joined)
    loyal = people.engagement + 0.7 * rng.standard_normal(n) + 0.4 * people.segment
    lean = people.price + 0.6 * rng.standard_normal(n)
    return {
        "segment": people.segment.copy(),
        "tier": np.digitize(loyal, (-0.3, 0.8, 1.8)),
        "region": people.region.copy(),
        "lang": np.where(rng.random(n) < 0.8, people.region, rng.integers(0, len(LANGUAGES), n)),
        "plan": 2 - np.digitize(lean, (-0.7, 0.3)),
    }


def _walk(customer: Ints, codes: dict[str, Ints], rng: Generator) -> dict[str, Ints]:
    """Carry each customer's codes from version to version; each later version changes one of them."""
    sizes = {"segment": 3, "tier": 4, "region": 5, "lang": 5, "plan": 3}
    names = tuple(sizes)
    which = rng.choice(len(names), size=len(customer), p=[0.05, 0.45, 0.1, 0.05, 0.35])
    step = rng.choice((-1, 1), size=len(customer))
    out = {name: codes[name][customer] for name in names}
    for row in np.flatnonzero(np.append(False, np.diff(customer) == 0)):
        for name in names:
            out[name][row] = out[name][row - 1]
        name = names[which[row]]
        here, top = out[name][row], sizes[name] - 1
        out[name][row] = here - step[row] if not 0 <= here + step[row] <= top else here + step[row]
    return out


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Correct the region."""
    moved = {region: REGIONS[i - 1] for i, region in enumerate(REGIONS)}
    return rows.assign(region=rows["region"].map(moved))
