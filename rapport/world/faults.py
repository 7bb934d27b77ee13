"""How rows arrive: late, twice, corrected, withdrawn or broken. Takes a feed's true rows, gives the delivered ones.

The night of a row is the UTC day of ``exported_at``, for broken rows and repeats too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import DAY, HOUR, MINUTE, Array, Ints, start_us, stream, whole
from rapport.world.settings import WorldSettings

EXPORTED = "exported_at"
RAW_TIME = "_raw_time"
FEWEST = 10
"""A file with fewer rows gets no broken one, or a small night would be a bad batch."""

Revise = Callable[[pd.DataFrame, Generator], pd.DataFrame]


@dataclass(frozen=True)
class Feed:
    """One source of the outside world before its faults.

    Attributes
    ----------
    path
        Where its nightly files lie, with ``{night}``.
    id, time
        Columns with the record's id and the time of its event (integer microseconds here).
    rows
        The true rows, columns as in the file without ``exported_at``.
    spoils
        Ways to break a row: column = value; a text in the time column replaces the written time.
    revise
        What a correction does to rows; None where the source corrects nothing.
    withdraw
        What a withdrawal puts into rows: column = value; None where nothing is withdrawn.
    mistaken
        The rows that are withdrawn, where it is not chance that says so; shape (rows,).
    latest
        Most days that a late row takes.
    prompt_until
        Moment before which no row is late: the first full export comes whole.
    """

    source: str
    path: str
    id: str
    time: str
    rows: pd.DataFrame
    spoils: tuple[Mapping[str, str | float], ...]
    revise: Revise | None = None
    withdraw: Mapping[str, str | bool | None] | None = None
    mistaken: Array | None = None
    latest: float = 5.0
    prompt_until: int = 0


def deliver(feed: Feed, settings: WorldSettings) -> pd.DataFrame:
    """Return the rows as delivered by the last night, in the order of ``exported_at``."""
    rng = stream(settings, f"faults of {feed.source}")
    rows = feed.rows.assign(**{EXPORTED: _exported(feed, settings, rng), RAW_TIME: None})
    rows = pd.concat([rows, *_corrections(rows, feed, settings, rng)], ignore_index=True)
    rows = pd.concat([rows, _repeats(rows, settings, rng)], ignore_index=True)
    rows = rows[rows[EXPORTED] < start_us(settings) + settings.days * DAY]
    rows = pd.concat([rows, _broken(rows, feed, settings, rng)], ignore_index=True)
    return rows.sort_values(EXPORTED, kind="stable", ignore_index=True)


def night_of(exported: pd.Series, settings: WorldSettings) -> Ints:
    """Return the night of each row, counted from the start."""
    return np.asarray((exported.to_numpy(np.int64) - start_us(settings)) // DAY)


def _exported(feed: Feed, settings: WorldSettings, rng: Generator) -> Ints:
    n = len(feed.rows)
    lag = rng.exponential(8 * MINUTE, n) + MINUTE
    late = (rng.random(n) < settings.late_share) & (feed.rows[feed.time].to_numpy() >= feed.prompt_until)
    return whole(feed.rows[feed.time].to_numpy() + lag + late * rng.uniform(1, feed.latest, n) * DAY)


def _corrections(rows: pd.DataFrame, feed: Feed, settings: WorldSettings, rng: Generator) -> list[pd.DataFrame]:
    """Revisions and retractions, of different rows, some hours or days after the first delivery."""
    luck = rng.random(len(rows))
    wrong = np.zeros(len(rows), bool) if feed.mistaken is None else feed.mistaken
    parts = []
    if feed.revise is not None:
        parts.append(feed.revise(_again(rows[(luck < settings.revision_share) & ~wrong], rng, 4.0), rng))
    if feed.withdraw is not None:
        chosen = (luck >= settings.revision_share) & (luck < settings.revision_share + settings.retraction_share)
        gone = _again(rows[chosen if feed.mistaken is None else wrong], rng, 3.0)
        parts.append(gone.assign(**feed.withdraw))
    return parts


def _repeats(rows: pd.DataFrame, settings: WorldSettings, rng: Generator) -> pd.DataFrame:
    """Rows delivered twice: two in three in the same file byte by byte, the others exported anew on a later day."""
    chosen = rows[rng.random(len(rows)) < settings.duplicate_share]
    again = rng.random(len(chosen)) < 1 / 3
    wait = whole(rng.uniform(1, 3, len(chosen)) * DAY)
    return chosen.assign(**{EXPORTED: chosen[EXPORTED] + again * wait})


def _again(rows: pd.DataFrame, rng: Generator, days: float) -> pd.DataFrame:
    wait = whole(rng.uniform(HOUR, days * DAY, len(rows)))
    return rows.assign(**{EXPORTED: rows[EXPORTED] + wait})


def _broken(rows: pd.DataFrame, feed: Feed, settings: WorldSettings, rng: Generator) -> pd.DataFrame:
    """Return new rows that no contract accepts: each spoil of the feed in turn, and events ahead of their delivery."""
    if settings.bad_share == 0:
        return rows.iloc[:0]
    spoils = (*feed.spoils, {})
    wanted = max(len(spoils), round(settings.bad_share * len(rows)))
    night = pd.Series(night_of(rows[EXPORTED], settings), index=rows.index)
    order = rng.permutation(len(rows))
    rank = night.iloc[order].groupby(night.iloc[order]).cumcount()
    room = night.map(night.value_counts()) // FEWEST
    chosen = rank[rank < room.loc[rank.index]].index[:wanted]
    broken = rows.loc[chosen].copy()
    broken[feed.id] += "x"
    which = np.arange(len(broken)) % len(spoils)
    for number, spoil in enumerate(spoils):
        _spoil(broken, which == number, spoil, feed, rng)
    return broken


def _spoil(rows: pd.DataFrame, where: np.ndarray, spoil: Mapping[str, str | float], feed: Feed, rng: Generator) -> None:
    if not spoil:
        ahead = whole(rng.uniform(1, 30, int(where.sum())) * DAY)
        rows.loc[where, feed.time] = rows.loc[where, EXPORTED] + ahead
    for column, value in spoil.items():
        rows.loc[where, RAW_TIME if column == feed.time else column] = value
