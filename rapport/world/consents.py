"""The CRM's feed of consents: purposes granted on joining, some withdrawn later and granted again.

The dissatisfied withdraw more often; what a service needs is granted by everybody.
"""

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import HOUR, MINUTE, moments, numbered, occurrences, start_us, stream, whole, words
from rapport.world.crm import Versions
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.truth import States
from validation.contracts.words import PURPOSES

GRANTED = {"service": 1.0, "personalisation": 0.85, "marketing": 0.6, "research": 0.45}
"""Share of customers who grant a purpose on joining."""
CHANGE_RATE = {"service": 0.0001, "personalisation": 0.0006, "marketing": 0.0012, "research": 0.0008}
"""Changes of mind per customer and day of those who are neither content nor annoyed."""
KINDS = ("granted", "withdrawn")


def feed(settings: WorldSettings, versions: Versions, states: States) -> Feed:
    """Return the CRM's feed of consents."""
    rng, n = stream(settings, "consents"), settings.customers
    joined = np.empty(n, np.int64)
    joined[versions.customer[versions.number == 1]] = versions.at[versions.number == 1]
    mood = np.exp(0.5 * states.frustration - 0.4 * states.satisfaction) * (states.session_rate > 0)
    parts = []
    for purpose in PURPOSES:
        first = np.flatnonzero(rng.random(n) < GRANTED[purpose])
        customer, day = occurrences(CHANGE_RATE[purpose] * mood, rng)
        said = {"customer": first, "at": whole(joined[first] + rng.uniform(MINUTE, 9 * MINUTE, len(first)))}
        later = {"customer": customer, "at": moments(settings, day, rng)}
        changes = pd.DataFrame(later)[later["at"] > joined[customer] + 10 * MINUTE]
        part = pd.concat([pd.DataFrame(said), changes], ignore_index=True)
        part = part.sort_values(["customer", "at"], kind="stable", ignore_index=True)
        # The first word on a purpose is a grant, on joining or later; each one after it is the opposite.
        parts.append(part.assign(purpose=purpose, kind=part.groupby("customer").cumcount() % 2))
    told = pd.concat(parts, ignore_index=True).sort_values("at", kind="stable", ignore_index=True)
    rows = pd.DataFrame(
        {
            "consent_id": numbered("N", np.arange(len(told))),
            "customer_no": numbered("C", told["customer"].to_numpy(), 6),
            "purpose": told["purpose"],
            "answer": words(KINDS, told["kind"].to_numpy()),
            "answered_at": told["at"],
            "deleted": np.zeros(len(told), bool),
        }
    )
    spoils = ({"purpose": "curiosity"}, {"answered_at": "soon"}, {"answer": "perhaps"})
    path, full = "crm/consents-{night}.csv", start_us(settings) + 4 * HOUR + 10 * MINUTE
    gone = {"deleted": True}
    return Feed("consents", path, "consent_id", "answered_at", rows, spoils, _revise, gone, prompt_until=full)


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Correct the time: it was said somewhat earlier."""
    return rows.assign(answered_at=rows["answered_at"] - whole(rng.uniform(MINUTE, 9 * MINUTE, len(rows))))
