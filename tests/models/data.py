"""Small made-up rows that every model is tried on: a signal, noise, missing values and a word."""

import numpy as np
import pandas as pd

from features.declare.expression_types import DType

TYPES: dict[str, DType] = {
    "customer_orders_1a2b3c4d:customer__orders__30d": "int64",
    "customer_orders_1a2b3c4d:customer__spend__30d": "float64",
    "customer_messages_1a2b3c4d:customer__negative__30d": "float64",
    "customer_messages_1a2b3c4d:customer__noise__30d": "float64",
    "customer_profile_1a2b3c4d:customer__plan__365d": "string",
}
ACTIONS = ("discount", "none")


def made_up(rows: int = 1600, seed: int = 0, *, shuffled: bool = False) -> pd.DataFrame:
    """Return rows as ``training_frame`` does; the label follows from the features unless shuffled."""
    rng = np.random.default_rng(seed)
    orders, spend, negative = rng.poisson(2.0, rows), rng.gamma(2.0, 50.0, rows), rng.random(rows)
    plan = rng.choice(["basic", "plus", "pro"], rows)
    odds = 1.8 * (negative - 0.5) * np.where(plan == "pro", -3.0, 3.0) - 0.8 * (orders - 2) + 0.3 * (spend > 100)
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
    times = pd.Timestamp("2026-06-01T06:00Z").as_unit("us") + pd.to_timedelta(
        np.sort(rng.integers(0, 112, rows)), unit="D"
    )
    frame = pd.DataFrame(
        {
            "customer_id": [f"C{i:04d}" for i in rng.integers(0, rows // 2, rows)],
            "event_time": times.as_unit("us"),
            "label": rng.permutation(label) if shuffled else label,
            "label_end": (times + pd.Timedelta(days=7)).as_unit("us"),
            "customer__orders__30d": pd.array(orders, dtype="Int64"),
            "customer__spend__30d": np.where(rng.random(rows) < 0.1, np.nan, spend),
            "customer__negative__30d": negative,
            "customer__noise__30d": rng.normal(size=rows),
            "customer__plan__365d": pd.array(plan, dtype="string"),
        }
    )
    return frame


def made_up_log(rows: int = 1600, seed: int = 0, *, shuffled: bool = False) -> pd.DataFrame:
    """Return logged decisions of a policy that tosses an unfair coin; a discount pays with customers who are upset."""
    rng = np.random.default_rng(seed + 1000)
    frame = made_up(rows, seed)
    discount = rng.random(rows) < 0.4
    upset = frame["customer__negative__30d"].to_numpy() > 0.5
    reward = np.clip(0.4 + np.where(discount, np.where(upset, 0.3, -0.2), 0.0) + rng.normal(0, 0.15, rows), 0, 1)
    return frame.assign(
        label=rng.permutation(reward) if shuffled else reward,
        choice=np.where(discount, *ACTIONS),
        propensity=np.where(discount, 0.4, 0.6),
    )
