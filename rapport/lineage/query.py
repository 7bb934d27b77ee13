"""What a name in the ring stands for."""

from dataclasses import dataclass
from datetime import date, datetime

from features.catalogue import catalogue_of
from features.inspect.cards import find
from features.inspect.explain import did_you_mean
from rapport.lineage.kinds import KINDS, LAYERS
from rapport.lineage.links import Links
from rapport_feast.errors import Rejected


@dataclass(frozen=True)
class Query:
    """What somebody wants to know the lineage of.

    Attributes
    ----------
    features
        Of a view, those that are meant.
    entity, at
        One entity's values only; of a training set one row.
    """

    kind: str
    name: str
    night: date | None = None
    features: tuple[str, ...] = ()
    entity: str | None = None
    at: datetime | None = None


def resolve(links: Links, name: str, night: date | None, entity: str | None, at: datetime | None) -> Query:
    """Return what a name stands for; where one name stands for several things, its folder says which."""
    ws = links.ws
    layer, _, below = name.partition("/")
    if layer in LAYERS and below:
        return _existing(links, LAYERS[layer], below, night, entity, at)
    if _is_night(name):
        return Query("night", name, date.fromisoformat(name))
    models = {model.name for model in ws.company.models} | {one.name for one in links.manifests}
    kinds = (
        ("source", links.sources),
        ("fact", {source.fact for source in links.sources.values()}),
        ("view", links.views),
        ("model", models),
    )
    for kind, known in kinds:
        if name in known or (kind == "model" and layer in known and below.isdigit()):
            return _existing(links, kind, name, night, entity, at)
    if links.files_named(name):
        return Query("file", name, night)
    try:
        found = find(catalogue_of(ws.company), name)
    except Rejected as error:
        raise Rejected("lineage", f"a {KINDS}", repr(name), error.remedy) from None
    features = tuple(feature.name for feature in found.features)
    return Query("view", found.group.view, night, () if found.whole else features, entity)


def _existing(links: Links, kind: str, name: str, night: date | None, entity: str | None, at: datetime | None) -> Query:
    """Return what a name of a kind stands for.

    Raises
    ------
    Rejected
        There is no such thing.
    """
    facts = {source.fact for source in links.sources.values()}
    models = {one.name for one in links.manifests}
    sets = {model for model, _, _ in links.sets}
    known: dict[str, set[str]] = {"fact": facts, "source": set(links.sources), "view": set(links.views)}
    known |= {"training set": sets, "model": models}
    first = name.partition("/")[0] if kind == "model" else name
    if first not in known[kind]:
        there = ", ".join(sorted(known[kind])) or "none yet"
        raise Rejected(kind, f"one of {there}", repr(name), did_you_mean(first, known[kind]))
    if kind == "training set":
        nights = [one for model, one, _ in links.sets if model == name]
        if night and night not in nights:
            raise Rejected(f"training set {name}", f"a night of {', '.join(map(str, nights))}", str(night))
        return Query(kind, name, night or max(nights), entity=entity, at=at)
    return Query(kind, name, night, entity=entity, at=at)


def _is_night(name: str) -> bool:
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True
