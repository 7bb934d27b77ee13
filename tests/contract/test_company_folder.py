"""A company outside the checkout, made by ``rapport new``: its own column, fact, groups, label and adapter all work."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from features.catalogue import catalogue_of, groups_of, standard
from features.inspect.docs import page
from infra.clock import FixedClock, cutoff
from infra.company.load import load_company
from infra.company.source import LOG
from infra.settings import Settings
from infra.workspace import Workspace, open_workspace
from rapport.company_names import refuse_unknown_names
from rapport.new.write import write_company
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY
from tests.conftest import run_ring
from tests.contract.serving_setup import wait_until_ready
from tests.run_nights import run as run_nights
from tests.unit.test_cli import run
from validation.bronze.ingest import ingest
from validation.contracts.own import contracts_of
from validation.contracts.standard import CONTRACTS
from validation.gate.accounts import counts
from validation.gate.run import gate

NIGHT = date(2026, 7, 3)
Refusals = dict[str, tuple[str, str, str]]


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """Write a new company."""
    return write_company("acme", tmp_path, NIGHT)


@pytest.fixture(scope="module")
def acme_ring(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Take a new company's last night round the ring."""
    folder = tmp_path_factory.mktemp("acme")
    settings = Settings(company=write_company("acme", folder, NIGHT), home=folder / "home")
    ws = open_workspace(settings, FixedClock(cutoff(NIGHT) + timedelta(hours=3)))
    run_ring(ws, NIGHT)
    return ws


@pytest.mark.slow
def test_its_own_fact_and_column_pass_the_door(acme_ring: Workspace) -> None:
    ws = acme_ring
    totals = counts(ws, NIGHT)
    assert set(totals) == {"transactions", "parcels"}
    assert all(found["silver"] > 300 and not found["quarantined"] for found in totals.values())
    orders = ws.lake.read("silver/transactions").to_pylist()
    assert {row["gift"] for row in orders} == {True, False}
    notes = {row["note"] for row in ws.lake.read("silver/parcels").to_pylist()}
    assert notes == {None, "asked <email>"}


@pytest.mark.slow
def test_its_own_groups_and_model_are_served(acme_ring: Workspace) -> None:
    from infra.models.bundle import versions
    from infra.redis.online_store import online_store
    from serving.http.app import create_app
    from serving.lookup.customer import lookup_customer

    ws = acme_ring
    (version,) = versions(ws)
    assert version.name == "late_parcel"
    names = {feature.name for feature in version.features}
    assert {"customer__late_share__90d", "customer__gifts__90d"} <= names
    group = catalogue_of(ws.company).group("customer_parcels")
    row = next(r for r in ws.lake.read(f"features/{group.view}").to_pylist() if r["night"] == NIGHT)
    with online_store(ws):
        online = {found.feature: found.value for found in lookup_customer(ws, row["customer_id"])}
        with TestClient(create_app(ws)) as client:
            wait_until_ready(client)
            body = {"entities": {"customer_id": [row["customer_id"]]}}
            scored = client.post("/v1/score/late_parcel", json=body).json()
    assert online["customer__parcels__90d"] == row["customer__parcels__90d"] > 0
    assert 0 <= scored["results"][0]["score"] <= 1, scored


@pytest.mark.slow
def test_it_is_in_the_pages(acme_ring: Workspace, tmp_path: Path) -> None:
    text = page(catalogue_of(acme_ring.company))
    assert "## customer_parcels" in text
    assert "## Fact parcels\n\na parcel that came, or was lost" in text
    assert "| `gift` | boolean | whether it was sent as a gift |" in text
    data_docs = acme_ring.folder("docs") / "gx"
    assert any("parcels" in path.name for path in data_docs.rglob("*.json"))


def test_it_opens_and_keeps_to_itself(acme: Path) -> None:
    company = load_company(acme)
    refuse_unknown_names(company)
    assert load_company(acme / "company.toml").name == company.name == "acme"
    assert set(contracts_of(company)) == {*CONTRACTS, "parcels"}
    assert [group.name for group in groups_of(company) if group not in standard().groups] == [
        "customer_gifts",
        "customer_parcels",
    ]
    assert "parcels" not in CONTRACTS
    assert not list(acme.rglob("__pycache__"))


def test_streamed_events_of_an_own_fact_are_judged_by_its_contract(acme: Path) -> None:
    import json

    from infra.log.event_log import Entry
    from validation.contracts.event_schema import event_schema
    from validation.door.door import Door

    with (acme / "company.toml").open("a") as file:
        file.write(
            f'\n[[sources]]\nname = "live"\nadapter = "{LOG}"\nfact = "parcels"\nid_space = "shop"\n[sources.columns]\n'
        )
        for name in ("event_id", "source_id", "event_time", "parcel_id", "outcome", "days"):
            file.write(f'{name} = "{name}"\n')
    company = load_company(acme)
    good = {"event_id": "1", "source_id": "C1", "event_time": "2026-07-03T10:00:00Z", "parcel_id": "P1"}
    events = [good | {"outcome": "delivered", "days": 3}, good | {"outcome": "eaten"}, good | {"outcome": "delivered"}]
    entries = [Entry(n, 1_783_500_000_000_000, "live", json.dumps(event).encode()) for n, event in enumerate(events)]
    judged = Door(company).admit(entries)
    assert judged.rows["parcels"]["days"].to_pylist() == [3]
    assert [reason for _, reason in judged.refused] == ["unknown:outcome", "delivered_without_days"]
    assert "outcome" in event_schema(company.sources[-1])["properties"]


def test_new_refuses_what_is_there_and_what_is_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("new", "shop", "--in", str(tmp_path)) == 0
    assert (tmp_path / "shop" / "company.toml").is_file()
    for name in ("shop", "My Shop"):
        assert run("new", name, "--in", str(tmp_path)) == 2
    assert "expected a new one" in capsys.readouterr().err


COLUMN = '[[columns]]\nname = "{}"\ntype = "text"\nmeaning = "x"\n'
FACT = 'meaning = "x"\n' + COLUMN
GROUP = """

from features.declare import CUSTOMER, Group, Measure, col

GROUP = Group("{name}", "x", "x", "service", CUSTOMER, "{fact}", (Measure("n", "count", ("30d",), where=col("{column}").isnull()),))
"""  # noqa: E501
# File in the folder, what it holds, and what the one sentence says.
WRONG: Refusals = {
    "a file of another kind": ("facts/parcels.yaml", "x", "facts: expected files named like customer_orders.toml"),
    "no TOML": ("facts/bad.toml", "[[", "facts/bad.toml: expected valid TOML"),
    "no meaning": ("facts/bad.toml", COLUMN.format("x1"), "facts/bad.toml, meaning: expected one line"),
    "a reserved column": (
        "facts/bad.toml",
        FACT.format("known_day"),
        "expected names that are not taken, found kn",
    ),
    "a column of every fact": ("facts/bad.toml", FACT.format("event_id"), "names that are not taken, found event_id"),
    "a word of SQL": ("facts/bad.toml", FACT.format("end"), "names that are not taken, found end"),
    "a column twice": ("facts/customers.toml", COLUMN.format("region"), "expected every name once, found region"),
    "our fact said anew": ("facts/customers.toml", FACT.format("x1"), "for customers is a fact of ours"),
    "a reserved fact": ("facts/log.toml", FACT.format("x1"), "expected a name that is not taken, found log"),
    "an unknown key": ("facts/bad.toml", FACT.format("x1") + "size = 3\n", "facts/bad.toml, columns.0.size"),
    "no pattern": ("facts/bad.toml", FACT.format("x1") + 'pattern = "("\n', "expected a regular expression"),
    "no Python": ("catalogue/bad.py", "\nGROUP = (", "catalogue/bad.py, line 2: expected Python that runs"),
    "Python that fails": (
        "catalogue/bad.py",
        "\n\nx = y",
        "catalogue/bad.py, line 3: expected Python that runs, fo",
    ),
    "nothing declared": ("catalogue/bad.py", "x = 1", "catalogue/bad.py: expected a GROUP or a REQUEST, found none"),
    "another name": (
        "catalogue/bad.py",
        GROUP.format(name="other", fact="parcels", column="note"),
        "catalogue/bad.py: expected a group called bad, as the file, found other",
    ),
    "an unknown fact": (
        "catalogue/bad.py",
        GROUP.format(name="bad", fact="letters", column="note"),
        "catalogue/bad.py, line 5: group bad, fact: expected one of customers",
    ),
    "an unknown column": (
        "catalogue/bad.py",
        GROUP.format(name="bad", fact="parcels", column="colour"),
        "catalogue/bad.py, line 5: group bad, n, column: expected one of",
    ),
    "hindsight": (
        "catalogue/bad.py",
        GROUP.format(name="bad", fact="parcels", column="refunded"),
        "expected no column of a label, found refunded",
    ),
    "a group of ours": (
        "catalogue/customer_orders.py",
        GROUP.format(name="customer_orders", fact="parcels", column="note"),
        "customer_orders",
    ),
    "a label that is none": ("labels/bad.py", "LABEL = 3", "labels/bad.py: expected a Label, found int"),
    "a recipe that is no Python": ("recipes/bad.py", "def", "recipes/bad.py, line 1: expected Python that runs"),
}
UNKNOWN: dict[str, tuple[str, str, str]] = {
    "fact": ('fact = "parcels"', 'fact = "letters"', "source parcels, fact: expected one of customers"),
    "column": ('gift = "gift"', 'gitf = "gift"', "source orders, columns: expected columns of transactions"),
    "adapter": ('adapter = "carrier"', 'adapter = "courier"', "source parcels, adapter: expected one of csv"),
    "label": ('label = "late_parcel"', 'label = "lost_parcel"', "model late_parcel, label: expected one of no_order"),
    "recipe": ('recipe = "churn"', 'recipe = "chrun"', "model late_parcel, recipe: expected one of churn"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_declaration_is_one_sentence(acme: Path, case: str) -> None:
    file, text, sentence = WRONG[case]
    (acme / file).parent.mkdir(exist_ok=True)
    (acme / file).write_text(text, encoding="utf-8")
    with pytest.raises(Rejected) as refused:
        refuse_unknown_names(load_company(acme))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_stands_for_nothing_is_refused(acme: Path, name: str) -> None:
    old, new, sentence = UNKNOWN[name]
    file = acme / "company.toml"
    file.write_text(file.read_text().replace(old, new), encoding="utf-8")
    with pytest.raises(Rejected) as refused:
        refuse_unknown_names(load_company(acme))
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: shutil.rmtree(folder), "company: expected a folder with a company.toml, found nothing at"),
        (
            lambda folder: (folder / "company.toml").unlink(),
            "expected a folder with a company.toml, found none",
        ),
    ],
)
def test_no_company_is_one_sentence(acme: Path, change: Callable[[Path], None], sentence: str) -> None:
    change(acme)
    with pytest.raises(Rejected) as refused:
        open_workspace(Settings(company=acme))
    assert sentence in str(refused.value)


def test_a_file_of_another_kind_is_no_company(acme: Path) -> None:
    with pytest.raises(Rejected, match=r"found the file orders\.csv"):
        open_workspace(Settings(company=acme / "data" / "orders.csv"))


def test_an_edited_declaration_counts_when_the_company_is_opened_again(acme: Path) -> None:
    ws = open_workspace(Settings(company=acme))
    before = catalogue_of(ws.company).group("customer_gifts")
    path = acme / "catalogue" / "customer_gifts.py"
    path.write_text(path.read_text().replace('("90d",), where', '("60d", "90d"), where'), encoding="utf-8")
    after = catalogue_of(replace(ws, company=load_company(acme)).company).group("customer_gifts")
    assert after.version != before.version


@pytest.mark.slow
def test_a_column_that_is_declared_later_is_empty_before(acme: Path, tmp_path: Path) -> None:
    file = acme / "facts" / "transactions.toml"
    later = file.read_text()
    text = (acme / "company.toml").read_text()
    file.unlink()
    without = "\n".join(line for line in text.splitlines() if not line.startswith("gift"))
    (acme / "company.toml").write_text(without.replace(str(NIGHT), str(NIGHT - DAY)), encoding="utf-8")
    (acme / "catalogue" / "customer_gifts.py").unlink()
    settings = Settings(company=acme, home=tmp_path / "home")
    clock = FixedClock(cutoff(NIGHT) + timedelta(hours=3))
    for step in (ingest, gate):
        step(open_workspace(settings, clock), NIGHT - DAY)
    file.write_text(later)
    (acme / "company.toml").write_text(text, encoding="utf-8")
    ws = open_workspace(settings, clock)
    run_nights(ws, [NIGHT])
    gifts = {row["gift"] for row in ws.lake.read("silver/transactions").to_pylist()}
    assert None in gifts
    assert gifts & {True, False}
