"""Lookups: features of the request itself, and the JSON Schemas that requests and answers keep to."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from starlette.testclient import TestClient

from features.catalogue import standard
from features.compute.inputs import request_features
from infra.redis.online_store import online_store
from infra.workspace import Workspace
from serving.forms.encoding import json_time
from serving.lookup.request_features import MAX_TEXT
from tests.contract.serving_setup import (
    ALL,
    NOW,
    ONE,
    ORDERS,
    TICKETS,
    client_of,
    feast_store,
    publish_models,
    publish_views,
    workspace,
)

MESSAGE = standard().request("message")
NAMES = [feature.name for feature in MESSAGE.outputs]
SAID = ["Still not working!! Write to jo@example.org.", "", "größer ✓ ΑΣ", "a" * MAX_TEXT]
TYPED = {"text": SAID, "channel": ["chat", "email", "app", "call"]}
REFS = [f"message:{name}" for name in NAMES]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with ExitStack() as stack:
        ws = workspace(tmp_path_factory.mktemp("home"))
        online = stack.enter_context(online_store(ws))
        publish_views(ws)
        publish_models(ws)
        feast_store(online, tmp_path_factory.mktemp("feast"))
        yield stack.enter_context(client_of(ws))


def post(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/get-online-features", content=json.dumps(body))


def undisturbed(client: httpx.Client, **body: Any) -> httpx.Response:
    """Ask until no read was late: a machine that is busy with other tests may miss the deadline."""
    deadline = time.monotonic() + 10
    while (answered := post(client, **body)).json()["rapport"]["degraded"] and time.monotonic() < deadline:
        time.sleep(0.1)
    told = answered.json()["rapport"]
    assert not told["degraded"], told["fallbacks"][:3]
    return answered


def columns(answered: httpx.Response) -> dict[str, dict[str, Any]]:
    assert answered.status_code == 200, answered.text
    content = answered.json()
    return dict(zip(content["metadata"]["feature_names"], content["results"], strict=True))


def test_what_was_just_typed_is_answered_at_once(client: TestClient) -> None:
    found = columns(post(client, features=REFS, entities=TYPED))
    expected = [
        request_features(MESSAGE, {"text": text, "channel": way}) for text, way in zip(*TYPED.values(), strict=True)
    ]
    assert list(found) == NAMES, "as in Feast, the inputs themselves are not answered"
    assert {name: one["values"] for name, one in found.items()} == {n: [row[n] for row in expected] for n in NAMES}
    for one in found.values():
        assert one["statuses"] == ["NULL_VALUE" if value is None else "PRESENT" for value in one["values"]]
        assert one["event_timestamps"] == [NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ")] * 4
    assert found["message__length"]["values"][0] == len("Still not working!! Write to <email>.")
    assert found["message__word_length"]["values"][1] is None


def test_stored_features_and_the_request_are_answered_together_in_order(client: TestClient) -> None:
    refs = [f"{MESSAGE.view}:message__words", f"{ORDERS}:orders__30d", "message:message__live"]
    body = {"text": ["hello there", "x"], "channel": ["chat", "email"], "customer_id": ["A1", "nobody"]}
    found = columns(post(client, features=refs, entities=body))
    assert [(name, one["values"], one["statuses"]) for name, one in found.items()] == [
        ("customer_id", ["A1", "nobody"], ["PRESENT", "PRESENT"]),
        ("message__words", [2, 1], ["PRESENT", "PRESENT"]),
        ("orders__30d", [0, None], ["PRESENT", "NOT_FOUND"]),
        ("message__live", [1, 0], ["PRESENT", "PRESENT"]),
    ]
    full = post(client, features=refs, entities=body, full_feature_names=True).json()["metadata"]["feature_names"]
    assert full[1] == f"{MESSAGE.view}__message__words"


def test_inputs_that_nothing_asked_for_change_nothing(client: TestClient) -> None:
    assert columns(post(client, features=ALL, entities=ONE | {"text": ["x"]})) == columns(
        post(client, features=ALL, entities=ONE)
    )


FAULTY: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no channel": ({"text": ["x"]}, 422, "entities.channel", "values of channel, which message is computed from"),
    "no inputs": (ONE, 422, "entities.text", "values of text"),
    "a number for a text": (TYPED | {"text": ["a", 1, "b", "c"]}, 422, "entities.text.1", "a text"),
    "a list for a text": (TYPED | {"text": ["a", ["b"], "b", "c"]}, 422, "entities.text.1", "a text"),
    "half a letter": (TYPED | {"text": ["a", "\ud800", "b", "c"]}, 422, "entities.text.1", "a text"),
    "a channel that is none": ({"text": ["x"], "channel": ["fax"]}, 422, "entities.channel.0", "one of chat, email"),
    "a channel that is missing": ({"text": ["x"], "channel": [None]}, 422, "entities.channel.0", "a value"),
    "too long": ({"text": ["x" * (MAX_TEXT + 1)], "channel": ["chat"]}, 422, "entities.text.0", "at most 20000"),
    "two lengths": ({"text": ["x"], "channel": ["chat", "chat"]}, 422, "entities", "lists of one length"),
    "no values": ({"text": [], "channel": []}, 422, "entities.text", ""),
    "an unknown input": (TYPED | {"mood": ["a"] * 4}, 404, "entities", "text"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_faulty_input_is_told_what_is_wrong(client: TestClient, case: str) -> None:
    entities, status, field, expected = FAULTY[case]
    answered = post(client, features=REFS, entities=entities)
    fault = answered.json()["error"]
    assert (answered.status_code, fault["field"]) == (status, field), fault
    assert expected in fault["expected"]


def test_an_unknown_feature_of_the_request_is_told(client: TestClient) -> None:
    answered = post(client, features=["message:mood"], entities=TYPED)
    assert (answered.status_code, answered.json()["error"]["field"]) == (404, "features")


def schema_of(client: httpx.Client, name: str) -> dict[str, Any]:
    answered = client.get(f"/v1/schema/{name}")
    assert answered.status_code == 200, answered.text
    schema: dict[str, Any] = answered.json()
    for part in ("request", "answer"):
        jsonschema.Draft202012Validator.check_schema(schema[part])
    return schema


def keeps(instance: Any, schema: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).is_valid(instance))


LOOKUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "view": (ORDERS, {"features": ALL, "entities": {"customer_id": ["A1", "A2", "Ä3", "nobody"]}}),
    "group": (
        "ticket_progress",
        {"features": [f"{TICKETS}:{name}" for name in ("events__7d", "gap")], "entities": {"ticket_id": ["A1"]}},
    ),
    "request": ("message", {"features": [f"{MESSAGE.view}:{name}" for name in NAMES], "entities": TYPED}),
    "feature service": ("churn", {"feature_service": "churn", "entities": {"customer_id": ["A1", "nobody"]}}),
}


@pytest.mark.parametrize("kind", LOOKUPS)
def test_requests_and_answers_keep_to_the_schema(client: TestClient, kind: str) -> None:
    name, body = LOOKUPS[kind]
    schema = schema_of(client, name)
    answered = post(client, **body)
    assert answered.status_code == 200, answered.text
    jsonschema.validate(body, schema["request"])
    jsonschema.validate(answered.json(), schema["answer"])
    key = next(iter(body["entities"]))
    assert not keeps(body | {"entities": {}}, schema["request"])
    assert not keeps(body | {"entities": body["entities"] | {key: [1]}}, schema["request"])
    for spoil in ("a text", 1.5, [1]):
        spoiled = answered.json()
        spoiled["results"][1]["values"][0] = spoil
        assert not keeps(spoiled, schema["answer"]), spoil
    assert client.get("/v1/schema/shoes").status_code == 404


def test_what_the_schema_refuses_of_inputs_the_service_refuses(client: TestClient) -> None:
    schema = schema_of(client, "message")["request"]
    refs = [f"{MESSAGE.view}:{name}" for name in NAMES]
    for text, channel in [
        ("x", "chat"),
        (None, "chat"),
        ("", "email"),
        (1, "chat"),
        ("x", "fax"),
        ("x", None),
        ("x", ""),
    ]:
        body = {"features": refs, "entities": {"text": [text], "channel": [channel]}}
        assert keeps(body, schema) == (post(client, **body).status_code == 200), (text, channel)


def test_bounds_and_meaning_come_from_the_catalogue(client: TestClient) -> None:
    answered = schema_of(client, "message")["answer"]["properties"]["results"]["prefixItems"]
    values = answered[NAMES.index("message__frustration")]["properties"]["values"]["items"]
    assert values == {"type": "integer", "description": "points for frustration", "minimum": -1, "maximum": 9}
    spoiled = post(client, features=REFS, entities=TYPED).json()
    spoiled["results"][NAMES.index("message__frustration")]["values"][0] = 10
    assert not keeps(spoiled, schema_of(client, "message")["answer"])


@pytest.mark.slow
def test_every_view_of_a_real_ring_keeps_to_its_schema(small_ring: Workspace) -> None:
    with online_store(small_ring), client_of(small_ring) as client:
        for group in standard().groups:
            schema = schema_of(client, group.view)
            keys = small_ring.lake.read(f"features/{group.view}")[group.entity.key]
            ids = [*keys.unique().to_pylist()[:200], "nobody"]
            body = {"features": list(group.refs()), "entities": {group.entity.key: ids}}
            jsonschema.validate(body, schema["request"])
            answered = post(client, **body).json()
            jsonschema.validate(answered, schema["answer"])
            bounded = [at for at, f in enumerate(group.outputs, 1) if f.expect.least is not None]
            answered["results"][bounded[0]]["values"][0] = -1e9
            assert not keeps(answered, schema["answer"]), group.name
        for model in small_ring.company.models:
            if client.get(f"/v1/schema/{model.name}").status_code == 404:
                continue  # no champion
            schema = schema_of(client, model.name)
            key = next(iter(schema["request"]["properties"]["entities"]["properties"]))
            answered = post(client, feature_service=model.name, entities={key: ["C000001", "T0000001"]}).json()
            jsonschema.validate(answered, schema["answer"])


@pytest.mark.slow
@pytest.mark.row("R53")
@pytest.mark.parametrize("name", ["history_support", "history_surveys", "customer_activity", "queue_load"])
def test_the_table_and_the_cache_are_two_layouts_of_one_definition(small_ring: Workspace, name: str) -> None:
    """The normalised table in the lake holds every night; the row online is its newest, wide and ready to read."""
    group = standard().group(name)
    names = [feature.name for feature in group.outputs]
    with small_ring.lake.connect() as connection:
        view = small_ring.lake.view(connection, f"features/{group.view}")
        newest = connection.execute(f'''SELECT {group.entity.key} AS key, event_time, {", ".join(names)} FROM "{view}"
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY night DESC) = 1 ORDER BY key LIMIT 300''').fetchall()
    with online_store(small_ring), client_of(small_ring) as client:
        answered = undisturbed(client, features=list(group.refs()), entities={group.entity.key: [r[0] for r in newest]})
        found = columns(answered)
    assert newest
    for place, row in enumerate(newest):
        online = tuple(found[feature]["values"][place] for feature in names)
        assert online == row[2:], row[0]
        assert found[names[0]]["event_timestamps"][place] == json_time(row[1])
