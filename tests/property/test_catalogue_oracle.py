"""Groups of the catalogue say what a plain oracle says, at night and at any moment: behaviour, past, conversation."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from features.catalogue import standard
from features.compute import build
from features.declare.group import Group
from infra.engine.open import open_engine
from tests.property import specs
from tests.property.agreement import ask_oracle, check_live, check_nights
from tests.property.specs import ERAS, make_history, workspace, write_history

CASES = 20
# Words that these groups look for, beside those that random groups are tried with.
SPOKEN: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "behaviours": {"page": (None, "home", "help", "shop")},
    "ticket_events": {"kind": ("opened", "opened", "assigned", "escalated", "reopened", "resolved", "resolved")},
    "interactions": {
        "text": (None, "It is BROKEN again!", "thank you", "I want my money back", "hello " * 30),
        "action": (None, "hand_over", "apologise"),
    },
}
# Which row of the requirements a group shows: its windows, its past, its conversation.
ROWS = {
    "customer_activity": "R12",
    "history_support": "R11",
    "history_surveys": "R11",
    "customer_messages": "G12",
    "ticket_messages": "G12",
    "ticket_waiting": "G12",
    "ticket_progress": "G12",
}


@pytest.mark.parametrize(
    ("number", "name"),
    [pytest.param(at, name, marks=pytest.mark.row(row)) for at, (name, row) in enumerate(ROWS.items())],
)
def test_catalogue_group_equals_the_oracle(
    number: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = everywhere(standard().group(name))
    monkeypatch.setattr(
        specs, "WORDS", {fact: {**words, **SPOKEN.get(fact, {})} for fact, words in specs.WORDS.items()}
    )
    history = make_history(group, ERAS[number % len(ERAS)], range(100 * number, 100 * number + CASES))
    answers = ask_oracle(group, history)
    ws = workspace(tmp_path)
    write_history(ws, group, history)
    with open_engine(ws, "duckdb") as engine:
        check_nights(group, history, answers, build.compute(ws, engine, group, history.nights).features)
        check_live(ws, engine, group, history, answers, None)
    rows = [*answers.live, *(row for night in answers.nights.values() for row in night.values())]
    distinct_values = {feature.name: {repr(row[feature.name]) for row in rows} for feature in group.outputs}
    assert [feature for feature, values in distinct_values.items() if len(values) < 2] == [], "not tried"


def everywhere(group: Group) -> Group:
    """Return the group over all conversations: those of the oracle's cases are not named as tickets are."""
    return replace(group, where=None) if group.entity.name == "ticket" else group
