"""Draws that every feed of the simulator shares: random streams, occurrences, moments of a day.

Each feed has its own stream, so that a change in one leaves the others as they were.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from infra.clock import start_of
from rapport.world.settings import WorldSettings

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MILLISECOND = 1_000
MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

WAKING = np.array([1, 1, 1, 1, 1, 2, 4, 7, 9, 10, 10, 10, 11, 10, 9, 9, 9, 10, 12, 13, 12, 9, 5, 2], float)
OFFICE = np.array([0, 0, 0, 0, 0, 0, 1, 3, 8, 10, 10, 10, 7, 9, 10, 10, 9, 6, 3, 1, 0, 0, 0, 0], float)


def stream(settings: WorldSettings, name: str) -> Generator:
    """Return the random stream of a part of the world."""
    return np.random.default_rng([settings.seed, zlib.crc32(name.encode())])


def start_us(settings: WorldSettings) -> int:
    """Return the first microsecond of the world since 1970."""
    return int(start_of(settings.start).timestamp()) * 1_000_000


def season(settings: WorldSettings, weights: Sequence[float]) -> Floats:
    """Return the weekday's factor of each day, Monday first in ``weights``; shape (days,)."""
    factors = np.asarray(weights, float) / np.mean(weights)
    return np.asarray(factors[(settings.start.weekday() + np.arange(settings.days)) % 7])


def occurrences(rate: Floats, rng: Generator) -> tuple[Ints, Ints]:
    """Draw Poisson events at a rate per customer and day; return (customer, day) of each event."""
    counts = rng.poisson(rate)
    customer, day = np.nonzero(counts)
    times = counts[customer, day]
    return np.repeat(customer, times), np.repeat(day, times)


def moments(settings: WorldSettings, day: Ints, rng: Generator, hours: Floats = WAKING) -> Ints:
    """Draw a moment of each day, in microseconds since 1970 at whole milliseconds."""
    hour = rng.choice(24, size=len(day), p=hours / hours.sum())
    return whole(start_us(settings) + day * DAY + hour * HOUR + rng.integers(0, HOUR, len(day)))


def whole(us: Array) -> Ints:
    """Round down to whole milliseconds."""
    return np.asarray(us, np.int64) // MILLISECOND * MILLISECOND


def words(choices: Sequence[str], index: Array) -> Array:
    """Return the words at an index."""
    return np.asarray(choices, dtype=object)[index]


def draw(choices: Sequence[str], weights: Sequence[float], size: int, rng: Generator) -> Array:
    """Draw words with weights that need not sum to one."""
    p = np.asarray(weights, float)
    return words(choices, rng.choice(len(choices), size=size, p=p / p.sum()))


def numbered(letter: str, index: Array, width: int = 7) -> Array:
    """Return ids such as T0000001, counted from 1."""
    return np.array([f"{letter}{i:0{width}d}" for i in (np.asarray(index) + 1).tolist()], dtype=object)


def without(values: Array, where: Array) -> Array:
    """Return words with nothing (None) where it says so."""
    found: Array = np.array(values, dtype=object)
    found[where] = None
    return found


def tally(settings: WorldSettings, customer: Ints, day: Ints, weight: Array | None = None) -> Floats:
    """Count events per customer and day; shape (customers, days)."""
    size = settings.customers * settings.days
    counts = np.bincount(customer * settings.days + day, weights=weight, minlength=size)
    return counts.astype(float).reshape(settings.customers, settings.days)


def trailing(daily: Floats, days: int) -> Floats:
    """Sum the ``days`` days before each day, that day itself not included."""
    total = np.concatenate([np.zeros((len(daily), 1)), np.cumsum(daily, axis=1)], axis=1)
    last = np.arange(daily.shape[1])
    return np.asarray(total[:, last] - total[:, np.maximum(last - days, 0)])
