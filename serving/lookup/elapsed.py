"""Features that depend on the moment of the read: the time since a fact, and what is made of it."""

from collections.abc import Callable, Mapping, Sequence

from features.compute.evaluate import evaluate
from features.compute.inputs import PYTHON_TYPES
from features.declare.catalogue import Catalogue
from features.declare.feature import Derived
from rapport_feast.row.layout import Packable
from serving.lookup.outcome import Values
from serving.lookup.views import View
from serving.timestamps import SECOND_US


def elapsed_at_read(view: View, catalogue: Catalogue) -> tuple[Callable[[Values, int], Values] | None, bool]:
    """Return what finishes a row of the view when it is read, if it must be, and whether the catalogue still knows how.

    The time since a fact is made of its moment, and what is made of that is evaluated again.
    """
    if not view.elapsed:
        return None, True
    group = catalogue.by_view.get(view.nightly or view.name)
    if group is None and view.derived:
        return None, False
    places = {name: place for place, name in enumerate(view.features)}
    measured = group.measured if group else {}
    elapsed = [(places[name], measured[name][0].empty_value if name in measured else None) for name in view.elapsed]
    derived = [feature for feature in group.ordered if feature.name in view.derived] if group else []
    return lambda values, read_us: _with_elapsed(values, read_us, elapsed, derived, places, view), True


def _with_elapsed(
    values: Values,
    read_us: int,
    elapsed: Sequence[tuple[int, Packable]],
    derived: Sequence[Derived],
    places: Mapping[str, int],
    view: View,
) -> Values:
    finished = list(values)
    for place, empty in elapsed:
        moment = finished[place]
        finished[place] = empty if moment is None else (read_us - int(moment)) // SECOND_US
    for feature in derived:
        value = evaluate(feature.value, dict(zip(places, finished, strict=True)))
        value = feature.empty if value is None else value
        finished[places[feature.name]] = None if value is None else PYTHON_TYPES[view.features[feature.name]](value)  # type: ignore[index]
    return tuple(finished)
