"""Two ids that turn out to be one person: what training asks about, and what the night's features say."""

import pytest

from features.catalogue import standard
from features.compute.as_known import merged_ids
from features.compute.tables import features_table
from infra.clock import Nights
from infra.workspace import Workspace
from training.data.labels import label_named
from training.data.spine import build_spine
from validation.sources.coverage import last_night


@pytest.fixture
def gone(small_ring: Workspace) -> set[str]:
    """Return the account numbers that were merged into another one, as known at the last night."""
    with small_ring.lake.connect() as connection:
        rows = connection.execute(f"FROM {merged_ids(small_ring, connection, last_night(small_ring))}").fetchall()
    return {row[0] for row in rows if not row[0].startswith("visitor:")}


def test_a_merged_account_is_in_no_training_spine(small_ring: Workspace, gone: set[str]) -> None:
    model = next(model for model in small_ring.company.models if model.name == "churn")
    spine = build_spine(small_ring, label_named(small_ring.company, model.label, model.options), last_night(small_ring))
    assert gone
    assert len(spine)
    assert not gone & set(spine["customer_id"])


def test_a_merged_account_keeps_no_feature_values(small_ring: Workspace, gone: set[str]) -> None:
    night = last_night(small_ring)
    rows = small_ring.lake.read(features_table(standard().group("customer_profile")), Nights(night, night)).to_pylist()
    merged = [row for row in rows if row["customer_id"] in gone]
    # On the night on which its facts went it has one more row, with nothing in it.
    assert [row for row in merged if row["customer__profile_changes__365d"]] == []
    assert len(merged) < len(gone)
