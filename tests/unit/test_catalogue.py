"""The catalogue: how much of it there is, that it is data, and that its page in the documentation is in step."""

import ast
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from features import catalogue
from features.catalogue import groups_of, standard
from features.declare.clashes import refuse_clashes
from features.declare.entity import CUSTOMER
from features.declare.group import Group
from features.declare.measure import Kind, Measure
from features.inspect.docs import page
from infra.company.company import Company
from infra.company.source import Source
from infra.settings import ROOT
from rapport_feast.errors import Rejected
from validation.contracts.words import PURPOSES

MODULES = sorted(path for path in Path(catalogue.__file__).parent.glob("*.py") if path.stem != "__init__")
SCREENFUL = 66
# What of a conversation is looked at, and which features say it (G12).
LIBRARY = {
    "frustration slope": "ticket__frustration_slope__60d",
    "repeat contact": "customer__repeat_contact__7d",
    "silence of the customer": "ticket__customer_silent__60d",
    "silence of the agent": "ticket__agent_silent__60d",
    "who waits": "ticket__customer_waits__60d",
    "channel switching": "customer__channel_switched__30d",
    "hand-offs between teams": "ticket__teams__90d",
    "hand-off from bot to agent": "ticket__bot_to_agent__60d",
    "wait for the first answer": "ticket__first_wait__60d",
    "ids of a customer on all channels": "customer__identities__30d",
}


def test_there_is_enough_and_not_too_much_of_one_kind() -> None:
    kinds = Counter(measure.kind for group in standard().groups for measure, _ in group.measured.values())
    features = sum(len(group.outputs) for group in standard().groups)
    assert len(standard().groups) >= 8
    assert features >= 60
    assert len({group.fact for group in standard().groups}) >= 6
    assert kinds["count"] <= features / 2
    assert set(kinds) == set(get_args(Kind))
    assert {group.entity.name for group in standard().groups} == {"customer", "ticket", "queue"}
    assert {group.fact for group in standard().groups if group.served == "live"} == {"behaviours", "interactions"}


@pytest.mark.row("R12")
def test_behaviour_is_counted_from_minutes_to_a_month() -> None:
    group = standard().group("customer_activity")
    windows = {window for measure, window in group.measured.values() if measure.kind == "count"}
    assert windows == {"5m", "1h", "24h", "30d"}
    assert group.served == "live"


@pytest.mark.row("G12")
@pytest.mark.parametrize("what", LIBRARY)
def test_the_conversation_library_is_there(what: str) -> None:
    assert LIBRARY[what] in {feature.name for group in standard().groups for feature in group.outputs}


def test_everything_says_whose_it_is_and_what_for() -> None:
    for one in standard().declared:
        assert one.owner, one.name
        assert one.description, one.name
        assert one.purpose in PURPOSES
        assert [feature.name for feature in one.outputs if not feature.meaning] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_group_is_a_screenful_of_data(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    code = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.If, ast.ListComp, ast.DictComp, ast.GeneratorExp)
    assert text.count("\n") <= SCREENFUL
    assert [node for node in ast.walk(tree) if isinstance(node, code)] == []
    assert {node.module for node in tree.body if isinstance(node, ast.ImportFrom)} <= {
        "features.declare",
        "features.declare.word_lists",
    }
    assert [node for node in tree.body if isinstance(node, ast.Import)] == []


def test_two_groups_with_one_feature_are_refused() -> None:
    def group(name: str) -> Group:
        return Group(name, "", "o", "service", CUSTOMER, "behaviours", (Measure("views", "count", ("1h",)),))

    with pytest.raises(Rejected, match="every name once, found customer__views__1h"):
        refuse_clashes([*standard().groups, group("another")], standard().requests)
    with pytest.raises(Rejected, match="every name once, found message"):
        refuse_clashes([group("message")], standard().requests)


def test_groups_without_a_source_are_left_out() -> None:
    source = Source(name="shop", adapter="csv", fact="transactions", path="orders.csv", id_space="crm")
    assert [group.name for group in groups_of(Company(name="c", title="", sources=(source,)))] == ["customer_orders"]


def test_groups_and_requests_are_found_by_name_and_by_view() -> None:
    assert standard().group(standard().group("customer_orders").view) is standard().group("customer_orders")
    assert standard().request(standard().request("message").view) is standard().request("message")
    with pytest.raises(Rejected, match="one of customer_activity"):
        standard().group("orders")
    with pytest.raises(Rejected, match="one of message"):
        standard().request("orders")


def test_the_page_is_in_step_with_the_declarations() -> None:
    written = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert written == page(standard()), "rapport feature docs writes it anew"


def test_the_page_tells_everything_of_a_feature() -> None:
    text = page(standard())
    lines = text.splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| `")}
    for one in standard().declared:
        section = text.partition(f"\n## {one.name}\n")[2].partition("\n## ")[0]
        for said in (one.description, one.owner, one.purpose, one.pii, one.view, one.fact):
            assert said in section, (one.name, said)
        for feature in one.outputs:
            assert feature.dtype in rows[f"`{feature.name}`"]
            assert feature.meaning in rows[f"`{feature.name}`"]
    (row,) = (line for line in lines if line.startswith("| `ticket__urgency__90d`"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1] == "int64"
    assert cells[3:] == ["last of `priority`, 90d", "none", "3", "at least 1, at most 5"]
