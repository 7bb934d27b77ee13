"""The simulated company: the same bytes for a seed, faults as asked, truth kept apart, causes that leave traces."""

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from infra.clock import FixedClock
from infra.company.load import load_company
from infra.company.source import Source
from infra.settings import ROOT, Settings
from infra.workspace import Workspace
from rapport.world import WorldSettings, ensure, generate, read_settings
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY
from validation.contracts.standard import CONTRACTS
from validation.contracts.words import PURPOSES

SMALL = WorldSettings(customers=300, days=40)
MIDDLE = WorldSettings(customers=1_500, days=90)
CLEAN = {"late_share": 0, "duplicate_share": 0, "revision_share": 0, "retraction_share": 0, "bad_share": 0}
COMPANY = load_company(ROOT / "companies" / "simulated" / "company.toml")
FILES = tuple(source for source in COMPANY.sources if not source.streamed)
NOON = datetime(2026, 5, 28, 12, tzinfo=UTC)
HIDDEN = {"satisfaction", "price_sensitivity", "trouble", "frustration", "complexity", "type", "escalation_probability"}


def read(folder: Path, source: str) -> pd.DataFrame:
    """Read all files of a source as text, with the night of the file."""
    pattern = next(s.path for s in FILES if s.name == source).removeprefix("{world}/")
    frames = []
    for path in sorted(folder.glob(pattern.replace("{night}", "*"))):
        frames.append(_one(path).assign(_night=path.stem[-10:]))
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def _one(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        with path.open(newline="") as lines:
            return pd.DataFrame(list(csv.DictReader(lines)))
    return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])


def truth(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "truth" / f"{name}.parquet")


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    generate(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("middle")
    generate(folder, MIDDLE)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    generate(folder, MIDDLE.model_copy(update=CLEAN))
    return folder


def test_two_processes_write_the_same_bytes(small: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rapport.world import *; "
        "generate(Path(sys.argv[1]), WorldSettings(customers=300, days=40))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w")], check=True, cwd=ROOT, timeout=60)
    assert digest(tmp_path / "w") == digest(small)


def test_another_seed_writes_another_world(small: Path, tmp_path: Path) -> None:
    generate(tmp_path, SMALL.model_copy(update={"seed": 8}))
    assert digest(tmp_path) != digest(small)


def test_a_second_call_changes_nothing_and_other_settings_replace_all(tmp_path: Path) -> None:
    settings = WorldSettings(customers=50, days=5)
    first = generate(tmp_path, settings)
    touched = tmp_path / "shop" / "orders-2026-05-25.csv"
    touched.write_text("mine\n")
    assert generate(tmp_path, settings) == first
    assert touched.read_text() == "mine\n"
    generate(tmp_path, settings.model_copy(update={"days": 3}))
    assert touched.read_text() != "mine\n"
    assert len(list((tmp_path / "shop").iterdir())) == 3


def test_a_world_cut_off_half_way_is_written_anew(tmp_path: Path) -> None:
    settings = WorldSettings(customers=50, days=3)
    generate(tmp_path, settings)
    whole = digest(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "chat" / "messages-2026-05-26.jsonl").unlink()
    generate(tmp_path, settings)
    assert digest(tmp_path) == whole


@pytest.mark.parametrize("seed", range(8, 13))
def test_the_smallest_world_has_what_its_first_night_must_hold(tmp_path: Path, seed: int) -> None:
    """Feeds that begin with a full export are never empty, whatever else is."""
    rows = generate(tmp_path, WorldSettings(customers=20, days=2, seed=seed)).rows
    assert set(rows) == {source.name for source in FILES}
    assert min(rows[name] for name in ("crm", "logins", "merges", "surveys", "consents")) > 0


def test_ensure_reads_the_company_and_reports_progress(tmp_path: Path) -> None:
    company = COMPANY.model_copy(update={"world": {"customers": 50, "days": 3}})
    ws, said = Workspace(Settings.model_validate({"home": tmp_path}), company, FixedClock(NOON)), list[str]()
    manifest = ensure(ws, said.append)
    assert manifest is not None
    assert (manifest.first_night, manifest.last_night) == (date(2026, 5, 25), date(2026, 5, 27))
    assert set(manifest.rows) == {source.name for source in FILES}
    assert len(said) == 1 + len(FILES)
    assert ensure(replace(ws, clock=FixedClock(NOON + 9 * DAY))) == manifest, "it stays where it began"
    assert ensure(Workspace(ws.settings, company.model_copy(update={"world": None}))) is None


@pytest.mark.parametrize("table", [{"custmers": 5}, {"customers": 0}, {"start": "soon"}, {"late_share": 2}])
def test_a_wrong_setting_is_refused_by_name(table: dict[str, object]) -> None:
    with pytest.raises(Rejected, match=f"world.{next(iter(table))}"):
        read_settings(table)


def test_every_source_has_a_file_every_night(small: Path) -> None:
    for source in FILES:
        pattern = source.path.removeprefix("{world}/").replace("{night}", "*")
        assert len(list(small.glob(pattern))) == SMALL.days


def test_the_company_file_maps_every_required_column(small: Path) -> None:
    for source in FILES:
        columns = set(read(small, source.name).columns)
        assert set(source.columns.values()) | {source.available} <= columns
        needed = {column.name for column in CONTRACTS[source.fact].all_columns if column.required}
        assert needed <= set(source.columns) | set(source.constants)


def test_the_truth_is_in_no_observable_file(middle: Path) -> None:
    for source in FILES:
        columns = set(read(middle, source.name).columns) - ({"type"} if source.name == "shop" else set())
        assert not columns & HIDDEN
        assert not [name for name in columns if name.startswith("_") and name != "_night"]


def test_no_column_but_the_kind_of_outcome_is_constant(clean: Path) -> None:
    for source in FILES:
        rows = read(clean, source.name)
        constant = {name for name in rows if rows[name].astype(str).nunique() == 1}
        assert constant <= {"kind", "deleted", "change_no"}


@pytest.mark.parametrize("source", FILES, ids=lambda source: source.name)
def test_the_file_of_a_row_is_the_day_of_its_availability(middle: Path, source: Source) -> None:
    rows = read(middle, source.name)
    exported = pd.to_datetime(rows["exported_at"], utc=True, format="ISO8601")
    assert (exported.dt.strftime("%Y-%m-%d") == rows["_night"]).all()
    good = rows[~rows[source.columns["event_id"]].str.endswith("x")]
    event = pd.to_datetime(good[source.columns["event_time"]], utc=True, format="ISO8601")
    assert (event <= exported[good.index]).all()


def test_planted_rates_are_near_those_asked(middle: Path) -> None:
    for source, key, time in (
        ("chat", "message_id", "sent_at"),
        ("shop", "line_id", "ordered_at"),
        ("web", "click_id", "at"),
        ("visits", "click_id", "at"),
    ):
        rows = read(middle, source)
        bad = rows[key].str.endswith("x")
        payload = [name for name in rows if name not in ("exported_at", "_night")]
        good = rows[~bad]
        repeated = good.duplicated(payload)
        distinct = good[~repeated]
        corrected = distinct.duplicated(key)
        first = distinct[~corrected]
        exported = pd.to_datetime(first["exported_at"], utc=True, format="ISO8601")
        waited = exported - pd.to_datetime(first[time], utc=True, format="ISO8601")
        assert bad.mean() == pytest.approx(MIDDLE.bad_share, rel=0.3)
        assert repeated.mean() == pytest.approx(MIDDLE.duplicate_share, rel=0.3)
        asked = MIDDLE.revision_share + (MIDDLE.retraction_share if source == "chat" else 0)
        assert corrected.mean() == pytest.approx(asked, rel=0.3)
        assert (waited > pd.Timedelta(days=1)).mean() == pytest.approx(MIDDLE.late_share, rel=0.3)


def test_without_faults_every_id_comes_once(clean: Path) -> None:
    for source in FILES:
        assert not read(clean, source.name)[source.columns["event_id"]].duplicated().any()


def test_small_worlds_hold_every_kind_of_fault(small: Path) -> None:
    chat, desk, shop = read(small, "chat"), read(small, "helpdesk"), read(small, "shop")
    assert chat["deleted"].any()
    assert (chat["channel"] == "fax").any()
    assert (desk["change_no"] == 2).any()
    assert (desk["action"] == "escalated").sum() > 10
    assert (pd.to_numeric(shop["amount_minor"]) < 0).any()


def test_initial_customers_are_known_on_the_first_night_and_nobody_acts_before_joining(clean: Path) -> None:
    versions, orders = read(clean, "crm"), read(clean, "shop")
    first = versions[versions["_night"] == "2026-05-25"]["customer_no"].nunique()
    assert 0.82 * MIDDLE.customers < first < 0.94 * MIDDLE.customers
    joined = versions.groupby("customer_no")["changed_at"].min().str[:10]
    assert joined.size == MIDDLE.customers
    assert (orders["ordered_at"].str[:10] >= orders["customer_no"].map(joined)).all()


def test_the_first_full_export_is_never_late(middle: Path) -> None:
    versions = read(middle, "crm")
    full = versions[(versions["changed_at"] < "2026-05-25T04") & (versions["change_no"] == "1")]
    assert set(full["customer_no"]) == set(full[full["_night"] == "2026-05-25"]["customer_no"])


def test_tickets_open_before_all_else_and_share_their_conversation(clean: Path) -> None:
    events, chat = read(clean, "helpdesk"), read(clean, "chat")
    assert (events.sort_values("at", kind="stable").groupby("ticket")["action"].first() == "opened").all()
    about = chat["conversation"].str.startswith("T")
    assert 0.3 < about.mean() < 0.9
    assert set(chat["conversation"][about]) <= set(events["ticket"])
    assert chat["conversation"][~about].str.startswith("H").all()


def test_contacts_are_planted_in_customers_texts_only(clean: Path) -> None:
    chat = read(clean, "chat")
    has = chat["body"].str.contains(r"@|\+4\d |0041|\(030\)")
    mine = chat["role"] == "customer"
    assert has[mine].mean() == pytest.approx(0.04, rel=0.25)
    assert not has[~mine].any()


def test_true_churn_goes_with_fewer_orders(clean: Path) -> None:
    states, orders = truth(clean, "states"), read(clean, "shop")
    then = states[states["day"] == 45].set_index("customer_no")
    placed = orders[(orders["type"] == "order") & (orders["ordered_at"] >= "2026-07-10")].groupby("customer_no").size()
    later = placed.reindex(then.index, fill_value=0)
    assert np.corrcoef(then["churn_probability"].rank(), later.rank())[0, 1] < -0.15
    lapsed = then["churn_probability"] == 1
    assert later[lapsed].mean() < 0.6 * later[~lapsed].mean()


def test_frustration_shows_in_words_and_escalation_in_reassignments(clean: Path) -> None:
    events, chat, tickets = read(clean, "helpdesk"), read(clean, "chat"), truth(clean, "tickets").set_index("ticket")
    angry = chat[chat["body"].str.contains("angry|fed up|useless|frustrated|annoyed")].groupby("conversation").size()
    count = angry.reindex(tickets.index, fill_value=0)
    assert count[tickets["escalates"]].mean() > 1.5 * count[~tickets["escalates"]].mean()
    before = events.merge(
        events[events["action"] == "escalated"][["ticket", "at"]], on="ticket", how="left", suffixes=("", "_e")
    )
    moves = before[(before["action"] == "assigned") & ~(before["at"] >= before["at_e"])].groupby("ticket").size()
    tickets = tickets.loc[tickets.index.isin(moves.index)]
    thirds = pd.qcut(tickets["complexity"], 3, labels=False)
    assert moves.reindex(tickets.index)[thirds == 2].mean() > 1.2 * moves.reindex(tickets.index)[thirds == 0].mean()


def test_escalations_come_as_often_as_the_truth_says(clean: Path) -> None:
    tickets = truth(clean, "tickets")
    assert 0.05 < tickets["escalates"].mean() < 0.3
    tenth = pd.qcut(tickets["escalation_probability"], 5, labels=False)
    by = tickets.groupby(tenth)[["escalates", "escalation_probability"]].mean()
    assert np.allclose(by["escalates"], by["escalation_probability"], atol=0.06)


def test_one_click_in_four_is_that_of_a_visitor(clean: Path) -> None:
    known, unknown = read(clean, "web"), read(clean, "visits")
    assert 0.2 < len(unknown) / (len(known) + len(unknown)) < 0.3
    assert not set(known["session"]) & set(unknown["session"])
    assert not set(known["click_id"]) & set(unknown["click_id"])
    assert "login" not in set(unknown["action"])
    told = truth(clean, "visits")
    assert set(told["session"]) >= set(unknown["session"])
    pairs = unknown[["session", "visitor"]].drop_duplicates().merge(told, on=["session", "visitor"])
    assert len(pairs) == unknown["session"].nunique()


def resolve(links: pd.DataFrame, visits: pd.DataFrame) -> pd.Series:
    """Return whose each visit is by the links: the newest at or before it, else the oldest later one open backwards."""
    owners = []
    by_visitor = {visitor: part.sort_values("at") for visitor, part in links.groupby("visitor")}
    for visitor, at in zip(visits["visitor"], visits["at"], strict=True):
        known = by_visitor.get(visitor, links.iloc[:0])
        before = known[known["at"] <= at]
        later = known[(known["at"] > at) & known["backwards"]]
        speaks = before.iloc[-1:] if len(before) else later.iloc[:1]
        owners.append(None if speaks.empty else speaks["customer_no"].iloc[0])
    return pd.Series(owners, index=visits.index, dtype=object)


def test_links_tell_whose_most_visits_were(clean: Path) -> None:
    links, told = read(clean, "logins"), truth(clean, "visits")
    links["at"] = pd.to_datetime(links["at"])
    visits = read(clean, "visits").drop_duplicates("session").merge(told, on=["session", "visitor"]).head(1_500)
    owner = resolve(links, visits)
    shared = truth(clean, "identities").query("shared")["id"]
    alone = ~visits["visitor"].isin(shared)
    assert 0.7 < owner.notna().mean() < 0.98
    assert (owner == visits["customer_no"])[alone & owner.notna()].all()
    assert 0.3 < (owner == visits["customer_no"])[~alone & owner.notna()].mean() < 1


def test_shared_devices_change_hands_and_some_links_are_open_backwards(clean: Path) -> None:
    links = read(clean, "logins").sort_values("at", kind="stable")
    shared = set(truth(clean, "identities").query("shared")["id"])
    hands = links.groupby("visitor")["customer_no"].nunique()
    assert set(hands[hands > 1].index) <= shared
    assert (hands > 1).sum() > 20
    lives = links.groupby("visitor")["action"].agg(" ".join)
    assert lives.str.contains("linked unlinked linked").any()
    assert lives.str.contains("linked linked").any()
    assert lives.str.startswith("linked").all()
    assert links["customer_no"].isna().equals(links["action"] == "unlinked")
    assert 0.5 < links["backwards"].mean() < 0.95


def test_mistaken_links_are_withdrawn_and_the_others_are_true(middle: Path) -> None:
    links, told = read(middle, "logins"), truth(middle, "identities")
    links = links[~links["link_id"].str.endswith("x") & (links["action"] == "linked")]
    right = pd.MultiIndex.from_frame(links[["visitor", "customer_no"]]).isin(
        pd.MultiIndex.from_frame(told[told["id_space"] == "visitor"][["id", "customer_no"]])
    )
    gone = links["link_id"].isin(links["link_id"][links["deleted"]])
    assert gone.sum() > 20
    assert not right[gone].any()
    assert right[~gone & (links["at"] < "2026-08-14")].all()  # later ones may be withdrawn after the end


def test_merged_numbers_are_one_person(middle: Path) -> None:
    merges, told = read(middle, "merges"), truth(middle, "identities").query("id_space == 'crm'")
    merges = merges[~merges["merge_id"].str.endswith("x")]
    stands = merges[~merges["merge_id"].isin(merges["merge_id"][merges["deleted"] == "True"])]
    assert set(zip(stands["customer_no"], stands["merged_into"], strict=True)) <= set(
        zip(told["id"], told["customer_no"], strict=True)
    )
    assert stands["customer_no"].nunique() > 5
    assert not set(merges["customer_no"]) & set(merges["merged_into"])
    assert (merges["_night"] == "2026-05-25").any()


def test_satisfaction_after_a_ticket_follows_from_the_customer_and_the_ticket(clean: Path) -> None:
    answers, events = read(clean, "surveys"), read(clean, "helpdesk")
    csat = answers[answers["survey"] == "csat"].dropna(subset="customer_no")
    csat = csat.assign(day=(pd.to_datetime(csat["answered_at"]) - pd.Timestamp("2026-05-25", tz="UTC")).dt.days)
    csat = csat.merge(truth(clean, "states")[["customer_no", "day", "satisfaction"]], on=["customer_no", "day"])
    closed = events.dropna(subset="sla_met").set_index("ticket")["sla_met"].astype(bool)
    at = events.assign(at=pd.to_datetime(events["at"])).groupby(["action", "ticket"])["at"].min()
    wait = (at["resolved"] - at["opened"]).dt.total_seconds()
    csat = csat.assign(met=csat["ticket"].map(closed), wait=csat["ticket"].map(wait)).dropna(subset=["met", "wait"])
    met = csat["met"].astype(bool)
    assert set(csat["score"]) == {1, 2, 3, 4, 5}
    assert np.corrcoef(csat["score"], csat["satisfaction"])[0, 1] > 0.3
    assert csat["score"][met].mean() > csat["score"][~met].mean() + 0.8
    assert np.corrcoef(csat["score"][met], csat["wait"][met].rank())[0, 1] < -0.15


def test_some_answers_have_no_name_and_samples_have_weights(clean: Path) -> None:
    answers = read(clean, "surveys")
    nameless = answers["customer_no"].isna().groupby(answers["survey"]).mean()
    assert nameless["poll"] == 1
    assert nameless["nps"] == pytest.approx(0.25, abs=0.05)
    assert nameless["csat"] < 0.1
    assert (answers["weight"].notna() == answers["survey"].isin(["nps", "poll"])).all()
    assert (answers["ticket"].notna() == answers["survey"].isin(["csat", "ces"])).all()
    assert answers["weight"].dropna().nunique() == 3
    assert answers["comment"].dropna().str.contains("@").any()
    assert answers["_night"].min() == "2026-05-25"


def test_consents_are_granted_on_joining_and_taken_back_in_turn(clean: Path) -> None:
    consents, versions = read(clean, "consents"), read(clean, "crm")
    joined = pd.to_datetime(versions.groupby("customer_no")["changed_at"].min())
    lives = consents.sort_values("answered_at", kind="stable").groupby(["customer_no", "purpose"])["answer"]
    assert (lives.first() == "granted").all()
    steps = lives.agg(" ".join)
    assert not steps.str.contains("granted granted|withdrawn withdrawn").any()
    assert steps.str.endswith("withdrawn").sum() > 50
    assert steps.str.contains("withdrawn granted").any()
    asked = pd.to_datetime(consents.groupby("customer_no")["answered_at"].min())
    wait = asked - joined.reindex(asked.index)
    assert (wait > pd.Timedelta(0)).all()
    assert (wait < pd.Timedelta("10min")).mean() > 0.95
    assert set(consents["purpose"]) == set(PURPOSES)


def test_what_agents_and_bots_did_is_told_and_no_customer_does_any_of_it(clean: Path) -> None:
    chat = read(clean, "chat")
    assert (chat["step"].isna() == (chat["role"] == "customer")).all()
    assert set(chat["role"][chat["step"] == "hand_over"]) == {"agent", "bot"}


def test_rewards_follow_the_true_effects(clean: Path) -> None:
    decided = (
        read(clean, "actions")
        .merge(truth(clean, "decisions"), on="decision_id")
        .merge(read(clean, "outcomes")[["decision_id", "value"]], on="decision_id")
    )
    effects = truth(clean, "effects").set_index(["type", "action"])
    found = decided.groupby(["type", "choice"])["value"].agg(["mean", "std", "size"])
    expected = (effects["base"] + effects["effect"]).reindex(found.index)
    assert len(found) == len(effects)
    assert (abs(found["mean"] - expected) < 4 * found["std"] / np.sqrt(found["size"])).all()
    assert decided["value"].between(0, 1).all()


def test_propensities_are_those_sampled_from(clean: Path) -> None:
    decided = read(clean, "actions")
    assert decided["propensity"].between(0.05, 1).all()
    weight = 1 / decided["propensity"]
    for action in ("none", "discount", "call_back", "self_help"):
        value = weight.where(decided["choice"] == action, 0)
        assert abs(value.mean() - 1) < 4 * value.std() / np.sqrt(len(value))


def test_outcomes_are_known_within_seven_days(middle: Path) -> None:
    decided = read(middle, "actions").drop_duplicates("decision_id").set_index("decision_id")["decided_at"]
    came = read(middle, "outcomes").drop_duplicates("decision_id").set_index("decision_id")
    came = came[~came["outcome_id"].str.endswith("x")]
    began = decided.reindex(came.index).to_numpy()
    usable = pd.notna(began) & pd.Series(began, index=came.index).astype(str).str.startswith("20").to_numpy()
    wait = pd.to_datetime(came["exported_at"][usable]) - pd.to_datetime(pd.Series(began, index=came.index)[usable])
    assert wait.max() < pd.Timedelta(days=7)


def test_a_planted_drift_shifts_what_can_be_seen(clean: Path, tmp_path: Path) -> None:
    generate(tmp_path, MIDDLE.model_copy(update=CLEAN | {"drift_from_day": 50, "drift_size": 0.5}))
    before, after = truth(clean, "states"), truth(tmp_path, "states")
    late = before["day"] >= 50
    assert np.allclose(after["frustration"][late] - before["frustration"][late], 0.5, atol=1e-5)
    assert after[~late].equals(before[~late])
    assert shift(clean, tmp_path, "web", "at", None) == pytest.approx(0.5, abs=0.25)
    assert shift(clean, tmp_path, "shop", "ordered_at", ("type", "order")) == pytest.approx(-0.4, abs=0.25)
    assert shift(clean, tmp_path, "chat", "sent_at", ("role", "customer")) > 0.15


def shift(before: Path, after: Path, source: str, time: str, only: tuple[str, str] | None) -> float:
    """Return how far the count per customer over the last 30 days moved, in standard deviations."""
    since = datetime(2026, 7, 24, tzinfo=UTC)
    counts = []
    for folder in (before, after):
        rows = read(folder, source)
        rows = rows if only is None else rows[rows[only[0]] == only[1]]
        rows = rows[pd.to_datetime(rows[time], utc=True, format="ISO8601") >= since]
        everyone = truth(folder, "states")["customer_no"].unique()
        counts.append(rows.groupby("customer_no").size().reindex(everyone, fill_value=0))
    return float((counts[1].mean() - counts[0].mean()) / counts[0].std())
