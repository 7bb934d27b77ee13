"""Plans of lookups: what to send for a set of references and where each value goes, made once and kept."""

import struct
from collections.abc import Hashable, Mapping, Sequence
from itertools import starmap
from typing import NamedTuple

from features.declare.request import Request
from rapport_feast.resp import encode_bulk, encode_command
from rapport_feast.row.keys import entity_key, row_field
from serving.forms.base import JsonValue
from serving.lookup.ladder import ReplyPlaces, ladders
from serving.lookup.views import Reference, Views

MAX_PLANS = 512
KEY_LENGTH = struct.Struct("<I")


class KeyPlan:
    """The reads of one join key: one ``HMGET`` per entity, over the packed rows of every rung.

    Parameters
    ----------
    project
        The Feast project.
    key
        The join key.
    references
        Reference = place in the answer.
    """

    def __init__(self, project: str, key: str, references: Mapping[Reference, int], views: Views) -> None:
        self.key = key
        places = ReplyPlaces()
        self.ladders = ladders(references, views, places)
        fields = [row_field(view) for view in places.views]
        self.width = len(fields)
        blank = entity_key(project, {key: ("string", "")})
        tail = project.encode()
        self._before = blank[: len(blank) - len(tail) - KEY_LENGTH.size]
        self._head = encode_command(["HMGET", b"", *fields]).partition(b"$0\r\n")[0]
        self._rest = tail + b"\r\n" + b"".join(map(encode_bulk, fields))
        self._size = len(self._before) + KEY_LENGTH.size + len(tail)

    def commands(self, ids: Sequence[str]) -> bytes:
        """Return the commands that read entities; the keys are those of ``rapport_feast.row.keys.entity_key``."""
        if len(ids) == 1:
            return self._command(ids[0])
        return b"".join(map(self._command, ids))

    def _command(self, entity: str) -> bytes:
        raw = entity.encode()
        size = len(raw)
        return b"%b$%d\r\n%b%b%b%b" % (
            self._head,
            self._size + size,
            self._before,
            KEY_LENGTH.pack(size),
            raw,
            self._rest,
        )


class Plan:
    """A feature request without its entities.

    Parameters
    ----------
    references
        A stored feature with its join key, one of the request with its definition, in the order requested.
    full_names
        Answer ``<view>__<feature>``.
    with_views
        Name the views in the answer.
    """

    def __init__(
        self, references: Mapping[Reference, str | Request], views: Views, *, full_names: bool, with_views: bool
    ) -> None:
        self.references = references
        self.names = tuple(
            f"{reference.view}__{reference.feature}" if full_names else reference.feature for reference in references
        )
        self.views = tuple(dict.fromkeys(reference.view for reference in references)) if with_views else None
        stored: dict[str, dict[Reference, int]] = {}
        self.computed: dict[Reference, Request] = {}
        self.computed_places: dict[Reference, int] = {}
        for place, (reference, source) in enumerate(references.items()):
            if isinstance(source, Request):
                self.computed[reference], self.computed_places[reference] = source, place
            else:
                stored.setdefault(source, {})[reference] = place
        self.parts = tuple(KeyPlan(views.project, key, positions, views) for key, positions in stored.items())
        self.keys = frozenset(stored)


class LookupQuery(NamedTuple):
    """A feature request whose every name exists.

    Attributes
    ----------
    entities
        Join key = ids.
    inputs
        Input of the request itself = values.
    plan
        Its features, and how they are read.
    """

    entities: Mapping[str, list[str]]
    inputs: Mapping[str, list[JsonValue]]
    plan: Plan


class Planner:
    """The plans that were made for some views; a few are kept."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self._kept: dict[Hashable, Plan] = {}
        self._by_text: dict[Hashable, Plan] = {}

    def plan(self, references: Mapping[Reference, str | Request], *, full_names: bool, with_views: bool) -> Plan:
        """Return the plan of references, each with its join key or the request that it is computed from."""
        key = (tuple(starmap(_named, references.items())), full_names, with_views)
        return self._kept.get(key) or _keep(
            self._kept, key, Plan(references, self.views, full_names=full_names, with_views=with_views)
        )

    def known(self, features: bytes, *, full_names: bool) -> Plan | None:
        """Return the plan of a list of features in JSON that was requested before."""
        return self._by_text.get((features, full_names))

    def learn(self, features: bytes, plan: Plan, *, full_names: bool) -> None:
        """Remember the plan of a list of features in JSON."""
        _keep(self._by_text, (features, full_names), plan)


def _named(reference: Reference, source: str | Request) -> tuple[Reference, str]:
    return reference, source if isinstance(source, str) else source.view


def _keep(kept: dict[Hashable, Plan], key: Hashable, plan: Plan) -> Plan:
    if len(kept) >= MAX_PLANS:
        kept.clear()
    kept[key] = plan
    return plan
