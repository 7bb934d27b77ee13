"""The split by time: what is learned from was known before the test slice began."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from rapport_feast.errors import Rejected

TEST_SHARE = 0.25
CALIBRATION_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Rows by time: whatever was learned from was known before the test slice began."""

    train: pd.DataFrame
    calibration: pd.DataFrame
    test: pd.DataFrame

    def joined(self) -> pd.DataFrame:
        """Return all rows that are used, with the column ``slice``."""
        named = (("train", self.train), ("calibration", self.calibration), ("test", self.test))
        return pd.concat([rows.assign(slice=name) for name, rows in named], ignore_index=True)

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Self:
        """Read a split back from the column ``slice``."""
        return cls(*(rows[rows["slice"] == name] for name in ("train", "calibration", "test")))


def time_split(rows: pd.DataFrame, *, how: str = "time", test_share: float = TEST_SHARE) -> Split:
    """Split rows by time: train, then calibration, then test; what is not known when the test begins is left out.

    Parameters
    ----------
    rows
        With ``event_time`` and ``label_end``: a row may be learned from only if its label was known before the first
        moment of the test slice, so the two are at least a horizon apart.
    how
        ``time``; nothing else is accepted.
    test_share
        Share of the moments (of the rows, where every row has its own) that are tested on: the newest ones.

    Raises
    ------
    Rejected
        Another kind of split was asked for.
    """
    if how != "time":
        raise Rejected("split", "time: the rows have times, and a random split would learn from the future", repr(how))
    starts = _tail(rows["event_time"], test_share)
    known = rows[rows["label_end"] < starts]
    later = _tail(known["event_time"], CALIBRATION_SHARE)
    test = rows[rows["event_time"] >= starts]
    return Split(known[known["event_time"] < later], known[known["event_time"] >= later], test)


def _tail(times: pd.Series, share: float) -> pd.Timestamp:
    """Return the moment at which the newest share of the moments begins."""
    moments = np.sort(times.unique())
    if not len(moments):
        return pd.Timestamp.max.tz_localize("UTC").as_unit("us")
    return pd.Timestamp(moments[-max(int(np.ceil(len(moments) * share)), 1)])
