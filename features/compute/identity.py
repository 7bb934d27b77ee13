"""Who a fact is about: facts are never rewritten when two ids turn out to be one person, links say it beside them.

A row of ``identity_links`` says that an id is a customer from its event time on, or that it is nobody's any more. For
a fact the newest link at or before it counts; where there is none, the oldest later one that is open backwards. Links
are facts too: they are read as known then, so a fact may have another customer from the day on which a link is known.
A chain has two links at most: a visitor is an account, and the account was merged into another one.
"""

import ibis
from ibis import _
from ibis.expr.types import StringValue, Table

from features.compute.ordering import order_key, stamped, unstamped
from infra.company.company import Company
from infra.engine.engine import Cut, uncut

LINKS = "identity_links"
# Visitor to account, account to the one that it was merged into.
CHAIN = 2
# What a link to nobody points to.
NOBODY = ""
STRETCH = ("event_id", "known_from", "known_until", "event_us", "entity")


def prefixed(company: Company, id_space: StringValue, local: StringValue) -> StringValue:
    """Return an id in the words of its source as a company-wide one: behind the prefix of its id space."""
    spaces = [(id_space == space, ibis.literal(text)) for space, text in company.identity.items()]
    return (ibis.cases(*spaces, else_=id_space + ":") if spaces else id_space + ":") + local


def subject(company: Company, links: Table) -> StringValue:
    """Return the company-wide id that each identity link speaks of."""
    return prefixed(company, links.id_space, links.source_id)


def resolve(company: Company, known: Table, links: Table, cut: Cut = uncut) -> Table:
    """Return facts with their ``entity``, a row for each stretch of time in which it was known to be that one.

    Parameters
    ----------
    known, links
        Facts and identity links from ``features.compute.as_known.versions``.
    cut
        How an engine computes a table before what follows is planned: of the few facts that links speak of.
    """
    spoken = links.select(
        subject=subject(company, links),
        link_us=links.event_us,
        backwards=links.backwards.fill_null(False),
        target_key=stamped(
            order_key(links.event_us, links.event_id), ibis.ifelse(links.kind == "linked", links.customer, NOBODY)
        ),
        link_from=links.known_from,
        link_until=links.known_until,
    )
    identified = known.mutate(entity=prefixed(company, known.id_space, known.source_id))
    linked_ids = spoken.select(entity=spoken.subject).distinct()
    found = cut(identified.semi_join(linked_ids, "entity"))
    for _link in range(CHAIN):
        found = cut(_follow_link(found, spoken))
    unlinked = identified.anti_join(linked_ids, "entity")
    return unlinked.union(found.select(unlinked.columns))


def _follow_link(facts: Table, links: Table) -> Table:
    """Follow one link: cut the time of each fact where what is known of its entity changes, and name it."""
    version = facts.select(*STRETCH)
    followed = version.join(
        links,
        [
            version.entity == links.subject,
            (links.link_us <= version.event_us) | links.backwards,
            links.link_from < version.known_until,
            version.known_from < links.link_until,
        ],
    ).drop("subject", "backwards")
    starts = followed.select("event_id", "known_from", "known_until", cut=ibis.greatest(_.link_from, _.known_from))
    ends = followed.filter(_.link_until < _.known_until).select(
        "event_id", "known_from", "known_until", cut=_.link_until
    )
    full = version.select("event_id", "known_from", "known_until", cut=_.known_from)
    pieces = full.union(starts).union(ends).distinct().mutate(
        end=ibis.coalesce(_.cut.lead().over(group_by=["event_id", "known_from"], order_by="cut"), _.known_until)
    )  # fmt: skip
    known_links = pieces.join(
        followed,
        [
            pieces.event_id == followed.event_id,
            pieces.known_from == followed.known_from,
            followed.link_from <= pieces.cut,
            pieces.cut < followed.link_until,
        ],
        how="left",
        rname="followed_{name}",
    )
    before = known_links.link_us <= known_links.event_us
    targets = known_links.group_by(["event_id", "known_from", "cut", "end"]).agg(
        newest=known_links.target_key.max(where=before), oldest=known_links.target_key.min(where=~before)
    )
    named = targets.select(
        "cut", "end", piece_event=targets.event_id, piece_from=targets.known_from,
        target=unstamped(ibis.coalesce(targets.newest, targets.oldest)),
    )  # fmt: skip
    joined = facts.join(named, [facts.event_id == named.piece_event, facts.known_from == named.piece_from])
    return joined.mutate(
        entity=ibis.coalesce(joined.target.nullif(NOBODY), joined.entity), known_from=joined.cut, known_until=joined.end
    ).select(facts.columns)
