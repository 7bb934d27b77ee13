"""A catalogue as a value: what a company has declared, ours and its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from features.declare.feature import Feature
from features.declare.group import Group
from features.declare.request import Request
from rapport_feast.errors import Rejected


@dataclass(frozen=True)
class Catalogue:
    """Feature groups, and features of the request itself."""

    groups: tuple[Group, ...]
    requests: tuple[Request, ...] = ()

    @property
    def declared(self) -> tuple[Group | Request, ...]:
        """Everything in it."""
        return (*self.groups, *self.requests)

    @cached_property
    def request_views(self) -> Mapping[str, Request]:
        """Requests by their names and by those of their current views."""
        return {name: one for one in self.requests for name in (one.name, one.view)}

    @cached_property
    def request_inputs(self) -> frozenset[str]:
        """Everything that a caller may give for some request."""
        return frozenset(name for one in self.requests for name in one.inputs)

    @cached_property
    def features(self) -> Mapping[str, Mapping[str, Feature]]:
        """View = its features by name, live views and requests too."""
        return {
            view: {feature.name: feature for feature in one.outputs}
            for one in self.declared
            for view in ([one.view, one.live_view] if isinstance(one, Group) else [one.view])
        }

    @cached_property
    def by_view(self) -> Mapping[str, Group]:
        """Groups by their current views."""
        return {group.view: group for group in self.groups}

    def group(self, name: str) -> Group:
        """Return a group by its name or by the name of its current view.

        Raises
        ------
        Rejected
            There is no such group.
        """
        for group in self.groups:
            if name in {group.name, group.view}:
                return group
        raise Rejected("feature group", f"one of {', '.join(group.name for group in self.groups)}", repr(name))

    def request(self, name: str) -> Request:
        """Return a request by its name or by the name of its current view.

        Raises
        ------
        Rejected
            There is no such request.
        """
        for request in self.requests:
            if name in {request.name, request.view}:
                return request
        raise Rejected("request", f"one of {', '.join(request.name for request in self.requests)}", repr(name))
