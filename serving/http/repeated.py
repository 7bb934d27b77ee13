"""Lists of features that were requested before are known by their bytes, and only the rest of the body is parsed."""

from collections.abc import Mapping
from typing import Any

import orjson

from serving.forms.base import MAX_BODY_BYTES, MAX_ENTITIES, MAX_NAME
from serving.lookup.plans import LookupQuery, Plan, Planner


def read_repeated(body: bytes, planner: Planner) -> LookupQuery | None:
    """Read a plain request for a list of features that was requested before; None for any other, faulty ones too.

    The list is known by its bytes, and only the rest is parsed. In a body without escapes each colon is one between a
    key and its value, or stands in a text that was read: one more, and a key stands twice.
    """
    if len(body) > MAX_BODY_BYTES or b"\\" in body:
        return None
    begin, end = _features_in(body)
    if begin < 0:
        return None
    rest = body[:begin] + b'"features":0' + body[end:]
    try:
        content = orjson.loads(rest)
        entities, full = content["entities"], content.get("full_feature_names", False)
        if content["features"] != 0 or len(content) != 2 + ("full_feature_names" in content) or type(full) is not bool:
            return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    plan = planner.known(body[begin:end], full_names=full)
    if plan is None or type(entities) is not dict or entities.keys() != plan.keys or not _are_ids(entities):
        return None
    colons = len(content) + len(entities) + "".join(entities).count(":")
    for ids in entities.values():
        colons += "".join(ids).count(":")
    return LookupQuery(entities, {}, plan) if rest.count(b":") == colons else None


def _features_in(body: bytes) -> tuple[int, int]:
    """Return where the key ``features`` and its list stand, if they do."""
    begin = body.find(b'"features"')
    return begin, body.find(b"]", begin) + 1


def remember_features(body: bytes, features: list[str], plan: Plan, planner: Planner, *, full: bool) -> None:
    """Remember the bytes of a list of features, if they are just that."""
    begin, end = _features_in(body)
    listed = body[begin:end]
    try:
        if begin >= 0 and b"\\" not in listed and orjson.loads(b"{%b}" % listed) == {"features": features}:
            planner.learn(listed, plan, full_names=full)
    except ValueError:
        return


def _are_ids(entities: Mapping[str, Any]) -> bool:
    """Say whether every list holds ids, and all lists equally many."""
    lengths = set()
    for ids in entities.values():
        if type(ids) is not list or not 0 < len(ids) <= MAX_ENTITIES:
            return False
        for one in ids:
            if type(one) is not str or not 0 < len(one) <= MAX_NAME:
                return False
        lengths.add(len(ids))
    return len(lengths) == 1
