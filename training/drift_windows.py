"""The windows of drift and their samples: a row per customer or ticket, of the last week and of the training window."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from infra.clock import Nights
from infra.models.manifest import Feature
from infra.workspace import Workspace
from validation.watch.comparison import FLOOR, ks_distance
from validation.watch.windows import whole_weeks

WEEK, REFERENCE_NIGHTS = 7, 28
SPAN_RATIO = 1.5
"""A trend of the training window may go on half as fast again before it counts as a drift."""


@dataclass(frozen=True)
class Windows:
    """The nights that are compared; whole weeks both, and never overlapping."""

    reference: Nights
    current: Nights

    @property
    def distance(self) -> float:
        """Days between the middles of both."""
        ends = (self.reference.first, self.reference.last, self.current.first, self.current.last)
        days = [end.toordinal() for end in ends]
        return (days[2] + days[3] - days[0] - days[1]) / 2


def windows_of(trained: date, night: date) -> Windows:
    """Return the last week, and the four weeks up to the training night that lie before it."""
    current = Nights(night - timedelta(days=WEEK - 1), night)
    last = min(trained, current.first - timedelta(days=1))
    return Windows(whole_weeks(Nights(last - timedelta(days=REFERENCE_NIGHTS - 1), last)), current)


def sample(ws: Workspace, key: str, features: Sequence[Feature], nights: Nights) -> pd.DataFrame:
    """Return one row of features per entity, of one of its nights, drawn by a hash, so that rows are independent.

    An entity is looked up in one week only, whether or not it had a row then: a sample of many weeks holds short-lived
    entities in the same proportion as one of a single week.

    Returns
    -------
    pandas.DataFrame
        Key, ``night`` and the features by name, sorted by key; missing where the entity had no row that night.
    """
    views: dict[str, list[str]] = {}
    for feature in features:
        views.setdefault(feature.view, []).append(feature.name)
    built = [view for view in sorted(views) if ws.lake.files(f"features/{view}", nights)]
    if not built:
        return pd.DataFrame(columns=[key, "night", *(feature.name for feature in features)])
    with ws.lake.connect() as con:
        names = {view: ws.lake.view(con, f"features/{view}", nights) for view in built}
        rows = " UNION ".join(f'SELECT {key}, night FROM "{name}"' for name in names.values())
        week = f"date_diff('day', DATE '{nights.first}', night) // 7 = md5_number({key}) % {max(len(nights) // 7, 1)}"
        picked = f"SELECT {key}, arg_min(night, md5({key} || night)) AS night FROM ({rows}) WHERE {week} GROUP BY 1"
        joins = " ".join(f'LEFT JOIN "{name}" USING ({key}, night)' for name in names.values())
        columns = ", ".join(f'"{name}"."{column}"' for view, name in names.items() for column in views[view])
        drawn: pd.DataFrame = con.execute(f"SELECT {key}, night, {columns} FROM ({picked}) {joins} ORDER BY {key}").df()
    return drawn.reindex(columns=[key, "night", *(feature.name for feature in features)])


def floors_of(reference: pd.DataFrame, windows: Windows, columns: Sequence[str]) -> dict[str, float]:
    """Return how far each number must move before it counts: further than the training window's own trend takes it.

    A tenure, a total or a window longer than the company's history moves by itself from week to week. What the two
    halves of the reference already differ by, beyond chance, is carried on to the current week.
    """
    first, last = windows.reference.first, windows.reference.last
    middle = pd.Timestamp(first + timedelta(days=len(windows.reference) // 2))
    early = pd.to_datetime(reference["night"]) < middle
    steps = windows.distance / max(((last - first).days + 1) / 2, 1.0)
    return {
        c: max(FLOOR, SPAN_RATIO * steps * _trend(reference.loc[early, c], reference.loc[~early, c])) for c in columns
    }


def _trend(early: pd.Series, late: pd.Series) -> float:
    """Return how far two halves lie apart beyond chance: the 5 % point of the two-sample Kolmogorov-Smirnov test.

    Notes
    -----
    Smirnov, Table for Estimating the Goodness of Fit of Empirical Distributions (1948).
    """
    a, b = early.dropna(), late.dropna()
    if not pd.api.types.is_numeric_dtype(early) or a.empty or b.empty:
        return 0.0
    chance = 1.36 * float(np.sqrt(1 / len(a) + 1 / len(b)))
    return max(ks_distance(a.to_numpy("float64"), b.to_numpy("float64")) - chance, 0.0)
