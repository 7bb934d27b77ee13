"""The online service against Feast itself: values that Feast wrote, answered as Feast answers, and scored."""

import json
import math
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest
from starlette.testclient import TestClient

from infra.redis.online_store import online_store
from rapport_feast.row.keys import entity_key, row_field
from rapport_feast.row.layout import FOREVER_US, Packing
from serving.forms.base import MAX_BODY_BYTES, MAX_ENTITIES
from serving.forms.features import FeaturesRequest
from serving.http.body import parse_body
from serving.lookup.customer import lookup_customer
from serving.lookup.rung import MAX_ROW_BYTES
from serving.timestamps import micros

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from feast.feature_server_utils import convert_response_to_dict

from tests.contract.serving_setup import (
    ALL,
    CUTOFF,
    ONE,
    ORDERS,
    STORES,
    TICKETS,
    VIEWS,
    Stage,
    boosters,
    client_of,
    feast_store,
    publish_models,
    publish_views,
    server_by_url,
    workspace,
)


@pytest.fixture(scope="module", params=STORES)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("home")
    kind = str(request.param).split()[0]
    with ExitStack() as stack:
        url = (
            None if kind == "embedded" else stack.enter_context(server_by_url(kind, tmp_path_factory.mktemp("server")))
        )
        ws = workspace(home, redis_url=url)
        online = stack.enter_context(online_store(ws))
        publish_views(ws)
        publish_models(ws)
        yield Stage(ws, online, feast_store(online, tmp_path_factory.mktemp("feast")))


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[TestClient]:
    with client_of(stage.ws) as client:
        yield client


def columns(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


def ask(client: httpx.Client, **body: Any) -> dict[str, dict[str, Any]]:
    answer = client.post("/get-online-features", json=body)
    assert answer.status_code == 200, answer.text
    return columns(answer.json())


def feasts(theirs: Any) -> dict[str, dict[str, Any]]:
    """Return Feast's answer by column; it says PRESENT of a null."""
    found = columns(convert_response_to_dict(theirs.proto))
    for column in found.values():
        pairs = zip(column["values"], column["statuses"], strict=True)
        column["statuses"] = ["NULL_VALUE" if value is None else status for value, status in pairs]
    return found


@pytest.mark.parametrize("full", [False, True])
def test_present_values_are_answered_as_feast_answers(stage: Stage, client: TestClient, full: bool):
    entities = {"customer_id": ["Ä3", "A1", "A2", "A1"]}
    theirs = stage.feast.get_online_features(
        features=ALL, entity_rows=[{"customer_id": i} for i in entities["customer_id"]], full_feature_names=full
    )
    ours = ask(client, features=ALL, entities=entities, full_feature_names=full)
    assert ours == feasts(theirs)
    assert {name: column["values"] for name, column in ours.items()} == theirs.to_dict()


def test_two_entities_at_once_are_answered_as_feast_answers(stage: Stage, client: TestClient):
    refs = [f"{ORDERS}:orders__30d", f"{TICKETS}:events__7d"]
    entities = {"customer_id": ["A1", "A2"], "ticket_id": ["A2", "Ä3"]}
    theirs = stage.feast.get_online_features(
        features=refs, entity_rows=[{"customer_id": "A1", "ticket_id": "A2"}, {"customer_id": "A2", "ticket_id": "Ä3"}]
    )
    assert ask(client, features=refs, entities=entities) == feasts(theirs)


def test_what_is_missing_is_said_to_be(client: TestClient):
    answer = ask(client, features=ALL, entities={"customer_id": ["nobody", "A2"]})
    assert answer["orders__30d"] == {
        "values": [None, -3],
        "statuses": ["NOT_FOUND", "PRESENT"],
        "event_timestamps": ["1970-01-01T00:00:00Z", "2026-11-19T23:59:59.999999Z"],
    }
    assert answer["gap"]["values"] == [None, None]
    assert answer["gap"]["statuses"] == ["NOT_FOUND", "NULL_VALUE"], "a published null is a true value"
    assert answer["segment"]["values"] == ["consumer", ""], "the declared default, and an empty text that is one"
    assert answer["segment"]["statuses"] == ["NOT_FOUND", "PRESENT"]


def test_what_is_not_of_the_first_rung_is_named_with_its_reason(client: TestClient):
    body = {"features": ALL[:2], "entities": {"customer_id": ["A1", "nobody"]}}
    told = client.post("/get-online-features", json=body).json()["rapport"]
    fallen = {"row": 1, "rung": "default", "reason": "not_found", "age_seconds": None}
    assert told["fallbacks"] == [{"feature": name, **fallen} for name in ("orders__30d", "spend__30d")]
    assert (told["degraded"], told["applied"], told["served_at"]) == (False, None, "2026-11-21T01:59:59.999999Z")
    again = client.post("/get-online-features", json=body).json()["rapport"]
    assert again["request"] != told["request"]


def test_a_group_is_its_current_version(client: TestClient):
    body = {"features": ["customer_orders:orders__30d"], "entities": {"customer_id": ["A1"]}}
    assert ask(client, **body)["orders__30d"]["values"] == [0]
    answer = client.post("/get-online-features", json=body | {"include_feature_view_version_metadata": True}).json()
    assert answer["metadata"]["feature_view_metadata"] == [{"name": ORDERS}]


def test_a_model_is_a_feature_service(client: TestClient):
    answer = ask(client, feature_service="churn", entities={"customer_id": ["A1"]}, full_feature_names=True)
    assert list(answer) == ["customer_id", *(ref.replace(":", "__") for ref in ALL[:3])]


def test_scores_are_the_models_own(client: TestClient):
    answer = client.post("/v1/score/churn", json={"entities": {"customer_id": ["A1", "nobody"]}}).json()
    raw = boosters()[0].inplace_predict(np.array([[0, 0.1 + 0.2, 1.0], [math.nan] * 3]))
    expected = 1 / (1 + np.exp(-(0.5 * np.log(raw / (1 - raw)) - 1.0)))
    assert [result["score"] for result in answer["results"]] == pytest.approx(expected.tolist(), rel=1e-6)
    first, second = answer["results"]
    assert (answer["model"], answer["version"], first["missing"], second["missing"]) == ("churn", "1", [], ALL[:3])
    assert first["features"][ALL[1]] == {
        "value": 0.1 + 0.2,
        "status": "PRESENT",
        "rung": "nightly",
        "reason": None,
        "event_time": "2026-11-20T23:59:59.999999Z",
        "age_seconds": 7200.0,
    }
    assert second["features"][ALL[2]] == {
        "value": "consumer",
        "status": "NOT_FOUND",
        "rung": "default",
        "reason": "not_found",
        "event_time": None,
        "age_seconds": None,
    }


def test_an_unknown_category_is_no_number(client: TestClient):
    answer = client.post("/v1/score/escalation", json={"entity": "Ä3"}).json()
    expected = boosters()[1].predict(np.array([[2**53 + 1, 0.0, math.nan]], dtype=float))
    assert answer["results"][0]["score"] == pytest.approx(float(expected[0]))


def test_a_policy_gives_the_value_of_each_action_and_its_choice(client: TestClient):
    result = client.post("/v1/score/offer", json={"entity": "A1"}).json()["results"][0]
    assert set(result["action_values"]) == {"none", "discount"}
    assert result["choice"] == max(result["action_values"], key=result["action_values"].get)
    assert "score" not in result


ASK = {"features": ALL, "entities": ONE}
FAULTY = {
    "no JSON": (b"{", 400, "body"),
    "nothing": (b"", 400, "body"),
    "no UTF-8": (b'{"entities": "\xff"}', 400, "body"),
    "a list": (b"[]", 400, "body"),
    "a NaN": (b'{"features": [NaN]}', 400, "body"),
    "a key twice": (b'{"features": [], "features": []}', 400, "body"),
    "too deep": (b"[" * 100_000, 400, "body"),
    "a huge number": (b'{"entities": ' + b"9" * 10_000 + b"}", 400, "body"),
    "too large": (b" " * (MAX_BODY_BYTES + 1), 413, "body"),
    "no entities": ({"features": ALL}, 422, "entities"),
    "entities of no key": (ASK | {"entities": {}}, 422, "entities"),
    "entities that are a list": (ASK | {"entities": ["A1"]}, 422, "entities"),
    "ids that are numbers": (ASK | {"entities": {"customer_id": [1]}}, 422, "entities.customer_id.0"),
    "ids that are null": (ASK | {"entities": {"customer_id": [None]}}, 422, "entities.customer_id.0"),
    "no ids": (ASK | {"entities": {"customer_id": []}}, 422, "entities.customer_id"),
    "an empty id": (ASK | {"entities": {"customer_id": [""]}}, 422, "entities.customer_id.0"),
    "half a letter": (
        b'{"features": ["customer_orders:gap"], "entities": {"customer_id": ["\\ud800"]}}',
        422,
        "entities.customer_id.0",
    ),
    "too many ids": (ASK | {"entities": {"customer_id": ["A"] * (MAX_ENTITIES + 1)}}, 422, "entities.customer_id"),
    "an unknown entity": (ASK | {"entities": ONE | {"shoe_id": ["1"]}}, 404, "entities"),
    "the wrong entity": (ASK | {"entities": {"ticket_id": ["A1"]}}, 422, "entities"),
    "lists of two lengths": (ASK | {"entities": ONE | {"ticket_id": ["A", "B"]}}, 422, "entities"),
    "no features": ({"entities": ONE}, 422, "features"),
    "features that are a word": ({"features": "gap", "entities": ONE}, 422, "features"),
    "a feature that is a number": ({"features": [1], "entities": ONE}, 422, "features.0"),
    "a feature without a view": ({"features": ["gap"], "entities": ONE}, 422, "features"),
    "a feature twice": ({"features": [ALL[0], ALL[0]], "entities": ONE}, 422, "features"),
    "two features of one name": (
        {"features": ["customer_orders:gap", "ticket_progress:gap"], "entities": ONE | {"ticket_id": ["A1"]}},
        422,
        "features",
    ),
    "an unknown view": ({"features": ["shoes:gap"], "entities": ONE}, 404, "feature view"),
    "an unknown feature": ({"features": [f"{ORDERS}:shoes"], "entities": ONE}, 404, "features"),
    "an unknown service": ({"feature_service": "shoes", "entities": ONE}, 404, "feature_service"),
    "a key that nothing reads": (ASK | {"full_names": True}, 422, "full_names"),
    "a word for a boolean": (ASK | {"full_feature_names": "yes"}, 422, "full_feature_names"),
}
FAULTY_SCORES = {
    "neither": ({}, 422, "entities"),
    "both": ({"entity": "A1", "entities": ONE}, 422, "entities"),
    "a number": ({"entity": 1}, 422, "entity"),
    "another key": ({"entities": {"ticket_id": ["A1"]}}, 422, "entities"),
    "too many": ({"entities": {"customer_id": ["A"] * (MAX_ENTITIES + 1)}}, 422, "entities.customer_id"),
    "no JSON": (b"A1", 400, "body"),
}


def check_fault(answer: httpx.Response, status: int, field: str) -> None:
    fault = answer.json()["error"]
    assert (answer.status_code, fault["field"]) == (status, field), answer.text
    assert fault["message"].startswith(f"{field}: expected {fault['expected']}")
    assert "Traceback" not in answer.text
    assert len(answer.text) < 1500


def post(client: httpx.Client, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content=content)


@pytest.mark.parametrize("case", FAULTY)
def test_a_faulty_feature_request_is_told_what_is_wrong(client: TestClient, case: str):
    body, status, field = FAULTY[case]
    check_fault(post(client, "/get-online-features", body), status, field)


@pytest.mark.parametrize("case", FAULTY_SCORES)
def test_a_faulty_score_request_is_told_what_is_wrong(client: TestClient, case: str):
    body, status, field = FAULTY_SCORES[case]
    check_fault(post(client, "/v1/score/churn", body), status, field)


def test_an_unknown_model_is_told_which_there_are(client: TestClient):
    answer = client.post("/v1/score/shoes", json={"entity": "A1"})
    check_fault(answer, 404, "model")
    assert "churn, escalation, offer" in answer.json()["error"]["expected"]


def test_other_paths_and_methods_are_refused_in_the_same_form(client: TestClient):
    assert client.get("/shoes").status_code == 404
    answer = client.get("/get-online-features")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "POST" in answer.json()["error"]["message"]


def test_openapi_lists_every_path_and_every_answer_is_in_its_form(client: TestClient):
    page = client.get("/openapi.json").json()
    assert set(page["paths"]) == {route.path for route in client.app.routes}  # type: ignore[attr-defined]
    answers = [
        ("get", "/health", client.get("/health")),
        ("get", "/ready", client.get("/ready")),
        ("post", "/get-online-features", client.post("/get-online-features", json={"features": ALL, "entities": ONE})),
        ("post", "/v1/score/{model}", client.post("/v1/score/churn", json={"entity": "nobody"})),
        ("post", "/v1/score/{model}", client.post("/v1/score/offer", json={"entity": "A1"})),
        *(
            ("post", "/get-online-features", post(client, "/get-online-features", fault[0]))
            for fault in FAULTY.values()
        ),
    ]
    for method, path, answer in answers:
        described = page["paths"][path][method]["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"] | {"components": page["components"]}
        jsonschema.validate(answer.json(), schema)


def test_a_conversation_in_progress_is_kept_beside_the_features(client: TestClient):
    page, path = client.get("/openapi.json").json(), "/v1/sessions/{conversation}"

    def told(answer: httpx.Response, path: str) -> dict[str, Any]:
        described = page["paths"][path][answer.request.method.lower()]["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"] | {"components": page["components"]}
        jsonschema.validate(answer.json(), schema)
        return answer.json()

    turn = {"turn_id": "1", "author_role": "customer", "text": "It is broken AGAIN, write to jo@example.org!"}
    url = f"/v1/sessions/{uuid4().hex}"
    assert told(client.post(f"{url}/turns", json=turn), f"{path}/turns") == {"fresh": True, "turns": 1}
    assert told(client.post(f"{url}/turns", json=turn), f"{path}/turns") == {"fresh": False, "turns": 1}
    assert "error" in told(client.post(f"{url}/turns", json=turn | {"text": "other"}), f"{path}/turns")
    deadline = time.monotonic() + 30
    while (answer := client.get(url)).status_code == 503:  # its features are still being compiled
        assert "error" in told(answer, path)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kept = told(answer, path)
    assert kept["features"]["ticket__messages__1h"] == 1
    assert kept["turns"][0]["text"] == "It is broken AGAIN, write to <email>!"
    assert client.get(f"{url}x").status_code == 404


def test_the_limits_are_those_of_openapi(client: TestClient):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    body = {"features": ALL, "entities": {"customer_id": ["A"] * MAX_ENTITIES}}
    assert schemas["FeaturesRequest"]["properties"]["entities"]["additionalProperties"]["maxItems"] == MAX_ENTITIES
    assert client.post("/get-online-features", json=body).status_code == 200
    assert parse_body(json.dumps(body).encode(), FeaturesRequest).features == ALL


def test_lookup_gives_every_feature_with_its_age(stage: Stage):
    found = {(row.view, row.feature): row for row in lookup_customer(stage.ws, "A2")}
    assert set(found) == {(ORDERS, ref.partition(":")[2]) for ref in ALL}
    row = found[ORDERS, "orders__30d"]
    assert (row.value, row.event_time, row.rung) == (-3, CUTOFF - timedelta(days=1), "nightly")
    assert row.age_seconds == 7200.0, "a customer who was silent for a day has a value that is as fresh as the night"
    assert {(row.event_time, row.status, row.rung) for row in lookup_customer(stage.ws, "nobody")} == {
        (None, "NOT_FOUND", "default")
    }


def packed(values: list[Any]) -> bytes:
    view = VIEWS["views"][ORDERS]
    return Packing(view["features"], view["version"]).pack(micros(CUTOFF), micros(CUTOFF), FOREVER_US, values)


GOOD = packed([7, 7.0, "vip", 7.0])
SPOILED: dict[str, tuple[bytes, str]] = {
    "cut": (GOOD[:-1], "unreadable"),
    "longer": (GOOD + b"x", "unreadable"),
    "nothing": (b"", "unreadable"),
    "no text": (GOOD[:-3] + b"\xff\xff\xff", "unreadable"),
    "another definition": (b"\0" * 4 + GOOD[4:], "definition"),
    "far too long": (b"x" * (MAX_ROW_BYTES + 1), "too_big"),
}


@pytest.mark.row("F4")
@pytest.mark.parametrize("case", SPOILED)
def test_a_row_that_is_none_is_missing_with_a_reason_and_counted(stage: Stage, client: TestClient, case: str):
    raw: Any = stage.online.client()
    key, (row, reason) = entity_key("small", {"customer_id": ("string", "broken")}), SPOILED[case]
    raw.hset(key, row_field(ORDERS), row)
    check_broken(client, reason)
    raw.delete(key)


@pytest.mark.row("F4")
def test_a_key_of_another_type_is_missing_with_a_reason_and_counted(stage: Stage, client: TestClient):
    raw: Any = stage.online.client()
    key = entity_key("small", {"customer_id": ("string", "broken")})
    raw.set(key, b"text")
    check_broken(client, "wrong_type")
    raw.delete(key)


def check_broken(client: TestClient, reason: str) -> None:
    before = counted(client, reason)
    answer = client.post(
        "/get-online-features", json={"features": ALL, "entities": {"customer_id": ["broken", "A1"]}}
    ).json()
    found = columns(answer)
    assert [found[name]["values"][0] for name in found] == ["broken", None, None, "consumer", None]
    assert {found[name]["statuses"][0] for name in list(found)[1:]} == {"NOT_FOUND"}
    assert [found[name]["values"][1] for name in found] == ["A1", 0, 0.1 + 0.2, "vip", 1.5]
    assert {(one["row"], one["reason"]) for one in answer["rapport"]["fallbacks"]} == {(0, reason)}
    assert answer["rapport"]["degraded"]
    assert counted(client, reason) == before + 1


def counted(client: TestClient, reason: str) -> float:
    found = re.search(rf'^rapport_faults_total{{reason="{reason}"}} (\S+)$', client.get("/metrics").text, re.M)
    return float(found[1]) if found else 0.0


def test_what_is_counted_is_told(client: TestClient):
    client.post("/get-online-features", json=ASK)
    text = client.get("/metrics").text
    for line in (
        r'rapport_requests_total{path="/get-online-features",status="200"} \S+',
        r'rapport_answer_seconds_bucket{le="0.1",path="/get-online-features"} \S+',
        r'rapport_values_total{rung="nightly"} \S+',
        r"rapport_breaker_open 0.0",
        r"rapport_reads_in_flight 0.0",
        r"rapport_nightly_age_seconds 7200.0",
    ):
        assert re.search(f"^{line}$", text, re.M), line


@pytest.mark.parametrize("entities", [ONE, {"customer_id": ["nobody", "A1", "A1"]}])
def test_a_request_that_was_asked_before_is_read_as_the_first_time(client: TestClient, entities: dict[str, Any]):
    """The short way of reading a request is taken only for what the long way has let in."""
    body = json.dumps({"features": ALL, "entities": entities}).encode()
    first, second = (post(client, "/get-online-features", body).json()["results"] for _ in range(2))
    assert first == second
    for spoiled in (
        body[:-1] + b', "features": []}',
        body.replace(b'{"customer_id"', b'{"customer_id": ["x"], "customer_id"'),
        body[:-1] + b', "full_names": true}',
        body[:-1] + b', "full_feature_names": 1}',
        body.replace(b"A1", b""),
        body.replace(b'"A1"', b"NaN"),
        body.replace(b'"A1"', b'["A1"]'),
    ):
        assert post(client, "/get-online-features", spoiled).status_code in (400, 422), spoiled
    escaped = body.replace(b"A1", b"A\\u0031")
    assert post(client, "/get-online-features", escaped).json()["results"] == first
    colon = json.dumps({"features": ALL, "entities": {"customer_id": ["a:b"]}}).encode()
    assert post(client, "/get-online-features", colon).status_code == 200
