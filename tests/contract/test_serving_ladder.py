"""The ladder: live, nightly, prior, default; each value says its rung, its age, its status and the reason."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from starlette.testclient import TestClient

from features.catalogue import standard
from features.compute.evaluate import evaluate
from infra.clock import FixedClock
from infra.company.company import Company
from infra.redis.online_store import online_store
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.keys import entity_key, published_key, row_field, stream_key
from rapport_feast.row.layout import Packing
from serving.lookup.customer import lookup_customer
from serving.lookup.elapsed import elapsed_at_read
from serving.lookup.outcome import REASONS
from serving.lookup.plans import KeyPlan
from serving.lookup.views import Reference, View, Views
from serving.timestamps import micros
from tests.contract.serving_setup import CUTOFF, NOW, client_of, publish_models, publish_views, write_row

NIGHTLY, LIVE, PROFILE = "orders_0a1b2c3d", "orders_0a1b2c3d__live", "customer_profile_11223344"
SECOND = timedelta(seconds=1)
ENTRY: dict[str, Any] = {
    "group": "orders", "entity": "customer", "key": "customer_id", "version": "0a1b2c3d", "served": "nightly",
    "features": {"count": "int64", "spend": "float64", "since": "int64", "word": "string"},
    "freshness_seconds": 129_600, "prior": f"{NIGHTLY}__prior", "defaults": {"count": -1}, "empty": {"count": 0},
}  # fmt: skip
VIEWS: dict[str, Any] = {
    "project": "small",
    "night": "2026-11-20",
    "segment": f"{PROFILE}:segment",
    "views": {
        NIGHTLY: ENTRY,
        LIVE: ENTRY
        | {"served": "live", "nightly": NIGHTLY, "freshness_seconds": 60, "elapsed": ["since"], "derived": []},
        PROFILE: ENTRY
        | {"group": "customer_profile", "version": "11223344", "features": {"segment": "string"}, "defaults": {}}
        | {"prior": f"{PROFILE}__prior"},
    },
}
YESTERDAYS: list[Any] = [1, 1.5, 100, "night"]
TODAYS: list[Any] = [2, 2.5, micros(NOW - 30 * SECOND), "live"]
ASK = {"features": [f"orders:{name}" for name in ENTRY["features"]], "entities": {"customer_id": ["C"]}}


class Hands:
    """A store and a service, and what the writers would do, by hand."""

    def __init__(self, store: OnlineStore, client: TestClient) -> None:
        self.store, self.client = store, client
        self.raw: Any = store.client()

    def write(
        self,
        view: str,
        values: list[Any],
        event_time: datetime = CUTOFF,
        known_at: datetime = CUTOFF,
        entity: str = "C",
        **more: Any,
    ) -> None:
        write_row(self.store, view, entity, values, event_time, known_at, views=VIEWS, **more)

    def beat(self, at: datetime) -> None:
        """Say that the stream has applied everything by a moment, and wait until the service knows."""
        self.raw.hset(stream_key("small"), "applied", micros(at))
        self.wait(lambda told: told["applied"] == at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def wait(self, known: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + 5
        while not known(self.client.get("/ready").json()["online"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ask(self, body: Any = ASK) -> dict[str, Any]:
        answer = self.client.post("/get-online-features", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    home = tmp_path_factory.mktemp("home")
    company = Company(name="small", title="small", sources=())
    ws = Workspace(Settings(home=home, sample_rate=1.0), company, FixedClock(NOW))
    with ExitStack() as stack:
        store = stack.enter_context(online_store(ws))
        publish_views(ws, VIEWS)
        publish_models(ws)
        yield Hands(store, stack.enter_context(client_of(ws)))


@pytest.fixture
def hands(place: Hands) -> Hands:
    place.raw.flushall()
    place.client.app.features.state.writers.priors = {}  # type: ignore[attr-defined]
    place.wait(lambda online: online["applied"] is None and online["night"] == "2026-11-20")
    return place


def told(answer: dict[str, Any]) -> tuple[list[Any], set[str], set[tuple[str, str]]]:
    """Return values, statuses, and rungs with reasons."""
    columns = answer["results"][1:]
    fallen = {(one["rung"], one["reason"]) for one in answer["rapport"]["fallbacks"]}
    return [column["values"][0] for column in columns], {column["statuses"][0] for column in columns}, fallen


def live_row(hands: Hands, until: datetime | None = None) -> None:
    hands.write(LIVE, TODAYS, NOW - 20 * SECOND, NOW - 10 * SECOND, valid_until=until)


@pytest.mark.row("G5")
def test_a_live_row_is_the_first_rung_and_what_has_passed_is_finished_now(hands: Hands) -> None:
    live_row(hands)
    hands.write(NIGHTLY, YESTERDAYS)
    hands.beat(NOW - SECOND)
    answer = hands.ask()
    assert told(answer) == ([2, 2.5, 30, "live"], {"PRESENT"}, set())
    assert answer["rapport"]["degraded"] is False
    assert answer["rapport"]["applied"] == (NOW - SECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_nightly_reference_stays_nightly(hands: Hands) -> None:
    live_row(hands)
    hands.write(NIGHTLY, YESTERDAYS)
    hands.beat(NOW)
    body = ASK | {"features": [f"{NIGHTLY}:{name}" for name in ENTRY["features"]]}
    assert told(hands.ask(body)) == (YESTERDAYS, {"PRESENT"}, set())
    assert told(hands.ask(ASK | {"features": [f"{LIVE}:count"]}))[0] == [2]


@pytest.mark.row("R61")
@pytest.mark.parametrize("behind", [61, 3600])
def test_a_stream_that_is_behind_falls_to_nightly(hands: Hands, behind: int) -> None:
    hands.write(LIVE, TODAYS, NOW - behind * SECOND, NOW - behind * SECOND)
    hands.write(NIGHTLY, YESTERDAYS)
    hands.beat(NOW - behind * SECOND)
    answer = hands.ask()
    assert told(answer) == (YESTERDAYS, {"OUTSIDE_MAX_AGE"}, {("nightly", "stale")})
    assert {one["age_seconds"] for one in answer["rapport"]["fallbacks"]} == {7200.0}
    assert answer["rapport"]["degraded"] is True


@pytest.mark.row("T9")
def test_a_customer_who_was_silent_for_a_month_has_a_fresh_value(hands: Hands) -> None:
    """What counts is how far the writer is, not when the customer last did something."""
    long_ago = NOW - timedelta(days=30)
    hands.write(LIVE, TODAYS, long_ago, long_ago)
    hands.write(NIGHTLY, YESTERDAYS, long_ago, long_ago)
    hands.beat(NOW - SECOND)
    assert told(hands.ask())[1:] == ({"PRESENT"}, set())
    nightly = hands.ask(ASK | {"features": [f"{NIGHTLY}:count"]})
    assert told(nightly) == ([1], {"PRESENT"}, set())


def test_an_expired_row_falls_at_its_microsecond(hands: Hands) -> None:
    hands.write(NIGHTLY, YESTERDAYS)
    live_row(hands, NOW + timedelta(microseconds=1))
    hands.beat(NOW)
    assert told(hands.ask())[2] == set()
    live_row(hands, NOW)
    assert told(hands.ask()) == (YESTERDAYS, {"OUTSIDE_MAX_AGE"}, {("nightly", "expired")})


@pytest.mark.row("V6")
def test_a_null_in_a_fresh_row_is_a_true_value(hands: Hands) -> None:
    hands.write(LIVE, [None] * 4, NOW, NOW)
    hands.write(NIGHTLY, YESTERDAYS)
    hands.beat(NOW)
    assert told(hands.ask()) == ([None] * 4, {"NULL_VALUE"}, set())


def test_without_any_row_the_declared_default_is_given(hands: Hands) -> None:
    answer = hands.ask()
    assert told(answer) == ([-1, None, None, None], {"NOT_FOUND"}, {("default", "not_found")})
    assert answer["rapport"]["degraded"] is False, "nothing is wrong: the customer is new"


def test_a_night_that_is_missing_makes_nightly_values_stale(hands: Hands) -> None:
    """The watermark in the store counts: it was restored from an older backup."""
    hands.write(NIGHTLY, YESTERDAYS, CUTOFF - timedelta(days=3), CUTOFF - timedelta(days=3))
    hands.raw.hset(published_key("small"), "night", "2026-11-17")
    hands.wait(lambda online: online["night"] == "2026-11-17")
    answer = hands.ask(ASK | {"features": [f"{NIGHTLY}:count"]})
    assert told(answer) == ([-1], {"OUTSIDE_MAX_AGE"}, {("default", "stale")})


def test_the_prior_of_the_segment_comes_before_the_default(hands: Hands) -> None:
    def prior(segment: str, values: list[Any]) -> None:
        hands.write(f"{NIGHTLY}__prior", values, entity=segment, key="segment_id")

    prior("*", [5, 5.5, 50, "all"])
    prior("vip", [6, None, 60, "vip"])
    hands.write(PROFILE, ["vip"], entity="C")
    deadline = time.monotonic() + 8
    while told(hands.ask())[0][0] != 6:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = hands.ask()
    assert told(answer) == ([6, None, 60, "vip"], {"NOT_FOUND"}, {("prior", "not_found")})
    others = hands.ask(ASK | {"entities": {"customer_id": ["stranger"]}})
    assert told(others) == ([5, 5.5, 50, "all"], {"NOT_FOUND"}, {("prior", "not_found")})


def test_a_row_of_another_definition_is_not_served(hands: Hands) -> None:
    other = Packing(ENTRY["features"], "99999999").pack(micros(NOW), micros(NOW), micros(NOW + SECOND), TODAYS)
    hands.raw.hset(entity_key("small", {"customer_id": ("string", "C")}), row_field(LIVE), other)
    hands.write(NIGHTLY, YESTERDAYS)
    hands.beat(NOW)
    answer = hands.ask()
    assert told(answer) == (YESTERDAYS, {"NOT_FOUND"}, {("nightly", "definition")})
    assert answer["rapport"]["degraded"] is True


def test_numbers_that_json_does_not_have_are_words(hands: Hands) -> None:
    hands.write(NIGHTLY, [1, float("nan"), 1, "null"], entity="C")
    hands.write(NIGHTLY, [1, float("-inf"), 1, "x"], entity="D")
    names = [f"{NIGHTLY}:{name}" for name in ENTRY["features"]]
    for _ in range(2):
        answer = hands.ask({"features": names, "entities": {"customer_id": ["C", "D", "C"]}})
        values = [column["values"] for column in answer["results"][1:]]
        assert values == [[1] * 3, ["NaN", "-Infinity", "NaN"], [1] * 3, ["null", "x", "null"]]
        one = hands.ask({"features": names[:2], "entities": {"customer_id": ["C"]}})
        assert told(one)[0] == [1, "NaN"]


def test_every_answer_is_in_the_form_of_openapi(hands: Hands) -> None:
    page = hands.client.get("/openapi.json").json()
    form = {"$ref": "#/components/schemas/FeaturesResponse", "components": page["components"]}
    hands.write(NIGHTLY, YESTERDAYS, entity="D")
    answer = hands.ask(ASK | {"entities": {"customer_id": ["C", "D"]}})
    jsonschema.validate(answer, form)
    assert all(part in REASONS for one in answer["rapport"]["fallbacks"] for part in one["reason"].split(", "))


def test_samples_are_the_rows_that_were_served(hands: Hands) -> None:
    live_row(hands)
    hands.write(NIGHTLY, YESTERDAYS, entity="D")
    hands.beat(NOW - SECOND)
    answer = hands.ask(ASK | {"entities": {"customer_id": ["C", "D", "nobody"]}})
    request = answer["rapport"]["request"]
    folder = hands.client.app.features.state.ws.folder("served")  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    found: list[dict[str, Any]] = []
    while not found:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        lines = [json.loads(line) for path in folder.glob("samples-2026-11-21.jsonl") for line in path.open()]
        found = [line for line in lines if line["request"] == request]
    live, nightly = found
    assert live == {
        "request": request, "served_us": micros(NOW), "applied_us": micros(NOW - SECOND), "entity": "customer",
        "key": "customer_id", "id": "C", "view": LIVE, "rung": "live", "event_us": micros(NOW - 20 * SECOND),
        "known_us": micros(NOW - 10 * SECOND), "definition": "0a1b2c3d",
        "values": {"count": 2, "spend": 2.5, "since": 30, "word": "live"},
    }  # fmt: skip
    assert (nightly["id"], nightly["view"], nightly["rung"]) == ("D", NIGHTLY, "nightly")


def test_lookup_prints_the_rung(hands: Hands) -> None:
    hands.write(NIGHTLY, YESTERDAYS)
    rows = lookup_customer(hands.client.app.features.state.ws, "C")  # type: ignore[attr-defined]
    found = {row.feature: (row.view, row.value, row.status, row.rung, row.reason) for row in rows}
    assert found["count"] == (LIVE, 1, "NOT_FOUND", "nightly", "not_found")
    assert found["segment"] == (PROFILE, None, "NOT_FOUND", "default", "not_found")


def test_the_key_that_is_asked_is_that_of_feast() -> None:
    views = Views("small", CUTOFF.date(), {"v": _view("v")})
    for entity in ("A1", "", "größer ✓", "x" * 300):
        sent = KeyPlan("small", "customer_id", {Reference("v", "count"): 0}, views).commands([entity])
        key = entity_key("small", {"customer_id": ("string", entity)})
        assert sent == b"*3\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n$6\r\n_row:v\r\n" % (len(key), key)


def _view(name: str) -> View:
    return View(name, "g", "customer", "customer_id", {"count": "int64"}, "0a1b2c3d", 0, "nightly", "p")


@pytest.mark.row("V5")
def test_what_is_made_of_a_time_since_is_made_again_when_it_is_read() -> None:
    """Every group of the catalogue with such a feature: its rows are finished at read as its definition says."""
    tried = 0
    for group in standard().groups:
        features = {feature.name: feature.dtype for feature in group.outputs}
        elapsed = tuple(name for name, (measure, _) in group.measured.items() if measure.kind in {"since", "age"})
        derived = tuple(one.name for one in group.ordered)
        if not elapsed:
            continue
        live = View(
            group.live_view, group.name, group.entity.name, group.entity.key, features, group.version, 60, "live",
            "p", group.view, {}, elapsed, derived,
        )  # fmt: skip
        read_us = micros(NOW)
        stored = {name: "x" if dtype == "string" else 3 for name, dtype in features.items()}
        stored |= dict.fromkeys(elapsed, read_us - 100500000)
        make, known = elapsed_at_read(live, standard())
        assert known
        assert make is not None
        made = dict(zip(features, make(tuple(stored.values()), read_us), strict=True))
        row: dict[str, Any] = stored | dict.fromkeys(elapsed, 100)
        for one in group.ordered:
            value = evaluate(one.value, row)
            row[one.name] = one.empty if value is None else value
        assert made == row
        tried += 1
    assert tried
    stranger = View("x__live", "x", "e", "k", {"a": "int64"}, "00000000", 60, "live", "p", "x", {}, ("a",), ("b",))
    assert elapsed_at_read(stranger, standard()) == (None, False)


def test_views_in_another_form_are_refused_and_the_old_ones_stay(tmp_path: Path, hands: Hands) -> None:
    app: Any = hands.client.app
    ws = app.features.state.ws
    for spoiled in ({"served": "sometimes"}, {"features": {"count": "float16"}}, {"version": "no hex"}):
        publish_views(ws, VIEWS | {"views": {NIGHTLY: ENTRY | spoiled}})
        # The watch looks once a second, but first joins a store that does not answer: a busy machine takes longer.
        deadline = time.monotonic() + 20
        while not app.features.state.artifacts.views_error:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert isinstance(hands.client, httpx.Client)
        assert told(hands.ask())[0][0] == -1
        publish_views(ws, VIEWS)
        while app.features.state.artifacts.views_error:
            assert time.monotonic() < deadline + 20
            time.sleep(0.05)
