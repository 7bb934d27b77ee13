"""What is really the case: hidden states of each customer and day, hazards, and what an action truly does.

Everything that the feeds show follows from here; features and training never see it, only tests read it.
All states have mean 0 and variance 1 over customers and days, as long as no drift is planted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rapport.world.chance import Array, Floats, Ints, season, stream
from rapport.world.settings import WorldSettings

SEGMENTS = ("consumer", "business", "vip")
TYPES = ("content", "price_driven", "frustrated", "self_reliant")
ACTIONS = ("none", "discount", "call_back", "self_help")
BASE = np.array([0.50, 0.32, 0.25, 0.38])
"""Expected reward of doing nothing, per type."""
EFFECTS = np.array(
    [[0.0, -0.10, -0.12, -0.06], [0.0, 0.32, -0.06, -0.06], [0.0, 0.04, 0.35, -0.12], [0.0, -0.04, -0.16, 0.30]]
)
"""True effect on the reward, type by action."""
BURN_IN = 90
RETURN = 1 / 60
QUIET = 0.12
"""What is left of a lapsed customer's activity."""


@dataclass(frozen=True)
class Population:
    """Who the customers are; each array has shape (customers,)."""

    segment: Ints
    region: Ints
    joined: Ints
    price: Floats
    reliance: Floats
    engagement: Floats

    @property
    def initial(self) -> Ints:
        """Customers who were there before the first night."""
        return np.flatnonzero(self.joined < 0)


@dataclass(frozen=True)
class States:
    """Hidden states and rates per day; each array has shape (customers, days)."""

    satisfaction: Floats
    price_sensitivity: Floats
    trouble: Floats
    frustration: Floats
    active: Array
    lapse_hazard: Floats
    type: Ints
    order_rate: Floats
    ticket_rate: Floats
    chat_rate: Floats
    session_rate: Floats


def populate(settings: WorldSettings) -> Population:
    """Draw the customers; one in eight joins after the first night."""
    rng, n = stream(settings, "population"), settings.customers
    segment = rng.choice(3, size=n, p=[0.68, 0.24, 0.08])
    later = rng.random(n) < 0.12
    return Population(
        segment=segment,
        region=rng.choice(5, size=n, p=[0.34, 0.22, 0.18, 0.16, 0.10]),
        joined=np.where(later, rng.integers(0, max(settings.days - 1, 1), n), -1),
        price=_standard(np.array([0.55, -0.9, -1.6])[segment] + 0.75 * rng.standard_normal(n)),
        reliance=rng.standard_normal(n),
        engagement=rng.standard_normal(n),
    )


def live(settings: WorldSettings, people: Population) -> States:
    """Let the customers live through all days, and a burn-in before them so that the first day is like any other."""
    rng, n, days = stream(settings, "states"), settings.customers, settings.days + BURN_IN
    drift = _drift(settings)
    trouble = _mix((0.5, rng.standard_normal((n, 1))), (0.87, _wander(n, days, 0.93, rng)))
    satisfaction = _mix((0.6, rng.standard_normal((n, 1))), (0.8, _wander(n, days, 0.985, rng)))
    own = _mix((0.6, rng.standard_normal((n, 1))), (0.8, _wander(n, days, 0.95, rng)))
    frustration = 0.5 * trouble - 0.4 * satisfaction + 0.768 * own + drift
    price = _mix((0.92, people.price[:, None]), (0.39, _wander(n, days, 0.985, rng)))
    trouble, satisfaction = trouble + drift, satisfaction - drift
    hazard = 0.0026 * np.exp(-0.9 * satisfaction + 0.6 * frustration + 0.25 * price - 0.65)
    active = _lapse(hazard, people.joined, rng)
    seen = slice(BURN_IN, None)
    kind = _type(price, 0.8 * frustration + 0.6 * trouble, people.reliance[:, None])
    rates = _rates(settings, people, satisfaction[:, seen], trouble[:, seen], frustration[:, seen], active[:, seen])
    return States(
        satisfaction[:, seen], price[:, seen], trouble[:, seen], frustration[:, seen], active[:, seen],
        hazard[:, seen], kind[:, seen], *rates,
    )  # fmt: skip


def _rates(
    settings: WorldSettings,
    people: Population,
    satisfaction: Floats,
    trouble: Floats,
    frustration: Floats,
    active: Array,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the daily rates of orders, tickets, chats and sessions."""
    present = np.arange(settings.days) > people.joined[:, None]
    awake = present * np.where(active, 1.0, QUIET)
    drift, keen = _drift(settings)[BURN_IN:], people.engagement[:, None]
    office = season(settings, (1.25, 1.15, 1.1, 1.05, 1.0, 0.75, 0.7))
    leisure = season(settings, (0.9, 0.9, 0.95, 1.0, 1.1, 1.2, 0.95))
    orders = 0.0275 * np.exp(0.75 * keen + 0.5 * satisfaction - 0.3 * frustration - 0.9 * drift) * present * active
    tickets = 0.0080 * np.exp(0.65 * trouble + 0.2 * frustration) * awake
    chats = 0.0078 * np.exp(0.45 * trouble + 0.35 * frustration) * awake
    sessions = 0.095 * np.exp(0.5 * keen + 0.25 * satisfaction + 1.15 * drift) * awake
    return orders * leisure, tickets * office, chats * office, sessions * leisure


def _type(price: Floats, upset: Floats, reliance: Floats) -> Ints:
    """Return what moves a customer on a day: the strongest of three drivers, or nothing much."""
    upset = upset / 1.2
    scores = np.stack([np.full_like(price, 0.4), price, upset, np.broadcast_to(reliance, price.shape)])
    return np.asarray(scores.argmax(axis=0))


def _lapse(hazard: Floats, joined: Ints, rng: Generator) -> Array:
    """Let customers lapse by their hazard, and come back after 60 days on average."""
    active = np.ones(hazard.shape, bool)
    now = rng.random(len(hazard)) < 0.9
    for day in range(hazard.shape[1]):
        luck = rng.random(len(hazard))
        now = np.where(now, luck >= hazard[:, day], luck < RETURN) | (joined >= day - BURN_IN)
        active[:, day] = now
    return active


def _drift(settings: WorldSettings) -> Floats:
    """Return the planted shift of each day, burn-in first."""
    day = np.arange(-BURN_IN, settings.days)
    begins = settings.days if settings.drift_from_day is None else settings.drift_from_day
    return np.where(day >= begins, settings.drift_size, 0.0)


def _wander(n: int, days: int, memory: float, rng: Generator) -> Floats:
    """Return stationary AR(1) paths of variance 1."""
    path = rng.standard_normal((n, days))
    for day in range(1, days):
        path[:, day] = memory * path[:, day - 1] + np.sqrt(1 - memory**2) * path[:, day]
    return path


def _mix(*parts: tuple[float, Floats]) -> Floats:
    """Weigh independent parts; squared weights sum to about one."""
    return np.asarray(sum(weight * part for weight, part in parts))


def _standard(x: Floats) -> Floats:
    return np.asarray((x - x.mean()) / x.std())
