"""The chat system's feed: conversations about tickets and others, by turns of customer, agent and bot.

Frustration writes negative sentences and turns up again; a complex ticket lets the customer wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world import words as say
from rapport.world.chance import (
    DAY,
    HOUR,
    MINUTE,
    Array,
    Floats,
    Ints,
    draw,
    moments,
    numbered,
    occurrences,
    start_us,
    stream,
    tally,
    whole,
    words,
)  # fmt: skip
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.tickets import CHANNELS, Tickets
from rapport.world.truth import States

MOST_TURNS = 9
WITHDRAWN: Mapping[str, str | bool] = {"body": "", "deleted": True}


@dataclass(frozen=True)
class Threads:
    """Conversations; each array has shape (conversations,)."""

    id: Array
    customer: Ints
    begin: Ints
    length: Floats
    turns: Ints
    channel: Array
    product: Ints
    category: Ints
    frustration: Floats
    complexity: Floats
    live: Array


@dataclass(frozen=True)
class Turns:
    """What customers wrote; each array has shape (turns,)."""

    thread: Ints
    at: Ints
    number: Ints
    last: Array
    grumbles: Ints
    pleased: Array


def converse(settings: WorldSettings, tickets: Tickets, states: States) -> tuple[Threads, Turns]:
    """Draw all conversations and the turns of the customers in them."""
    rng = stream(settings, "chats")
    threads = _join(_about_tickets(tickets, rng), _others(settings, states, rng))
    thread = np.repeat(np.arange(len(threads.turns)), threads.turns)
    number = np.arange(len(thread)) - np.repeat(np.cumsum(threads.turns) - threads.turns, threads.turns)
    share = np.where(number == 0, 0.0, rng.random(len(thread)))
    share = share[np.lexsort((share, thread))]
    at = whole(threads.begin[thread] + MINUTE + share * threads.length[thread] * DAY)
    last = number == threads.turns[thread] - 1
    upset = -1.15 + 0.75 * threads.frustration[thread] + 0.45 * threads.complexity[thread] + 0.12 * number
    grumbles = np.minimum(rng.poisson(np.exp(upset + 0.3 * rng.standard_normal(len(upset)))), 3)
    pleased = (rng.random(len(thread)) < np.where(last & (number > 0), 0.5, 0.06)) & (grumbles == 0)
    return threads, Turns(thread, at, number, last, grumbles, pleased)


def feed(settings: WorldSettings, threads: Threads, turns: Turns) -> Feed:
    """Return the chat system's feed."""
    rng = stream(settings, "chat texts")
    parts = pd.concat([_customer(threads, turns, rng), *_answers(threads, turns, rng)], ignore_index=True)
    parts = parts.sort_values("sent_at", kind="stable", ignore_index=True)
    thread = parts.pop("thread").to_numpy()
    rows = pd.DataFrame(
        {
            "message_id": numbered("M", np.arange(len(parts))),
            "conversation": threads.id[thread],
            "customer_no": numbered("C", threads.customer[thread], 6),
            "channel": threads.channel[thread],
            **{name: parts[name].to_numpy() for name in ("role", "visibility", "body", "step", "sent_at")},
            "deleted": np.zeros(len(parts), bool),
        }
    )
    spoils = ({"channel": "fax"}, {"sent_at": "yesterday at noon"}, {"role": "ghost"})
    path = "chat/messages-{night}.jsonl"
    return Feed("chat", path, "message_id", "sent_at", rows, spoils, _revise, WITHDRAWN)


def _about_tickets(tickets: Tickets, rng: Generator) -> Threads:
    n = len(tickets.day)
    eager = 0.55 * np.exp(0.25 * tickets.frustration + 0.15 * tickets.complexity)
    return Threads(
        numbered("T", np.arange(n)), tickets.customer, tickets.opened, tickets.resolved,
        np.minimum(1 + rng.poisson(eager * np.minimum(tickets.resolved, 9)), MOST_TURNS),
        words([*CHANNELS], tickets.channel), tickets.product, tickets.category, tickets.frustration,
        tickets.complexity, np.zeros(n, bool),
    )  # fmt: skip


def _others(settings: WorldSettings, states: States, rng: Generator) -> Threads:
    customer, day = occurrences(states.chat_rate, rng)
    begin = moments(settings, day, rng)
    order = np.argsort(begin, kind="stable")
    customer, day, n = customer[order], day[order], len(order)
    frustration = states.frustration[customer, day]
    return Threads(
        numbered("H", np.arange(n)), customer, begin[order], rng.uniform(0.003, 0.03, n),
        np.minimum(1 + rng.poisson(1.1 * np.exp(0.2 * frustration)), MOST_TURNS),
        draw(("chat", "app", "web", "social"), (0.6, 0.2, 0.12, 0.08), n, rng),
        rng.integers(0, len(say.PRODUCTS), n), rng.integers(0, len(say.CATEGORIES), n), frustration,
        0.4 * states.trouble[customer, day], np.ones(n, bool),
    )  # fmt: skip


def _join(first: Threads, second: Threads) -> Threads:
    return Threads(*(np.concatenate([a, b]) for a, b in zip(vars(first).values(), vars(second).values(), strict=True)))


def _customer(threads: Threads, turns: Turns, rng: Generator) -> pd.DataFrame:
    product, category = threads.product[turns.thread], threads.category[turns.thread]
    text = say.customer_texts(product, category, turns.number == 0, turns.grumbles, turns.pleased, rng)
    return _messages(turns.thread, turns.at, "customer", text)


def _answers(threads: Threads, turns: Turns, rng: Generator) -> list[pd.DataFrame]:
    """Write the answers: a bot at once to some openings, an agent after a wait to most, private notes to few."""
    n, thread = len(turns.thread), turns.thread
    bot = (turns.number == 0) & (rng.random(n) < np.where(threads.live[thread], 0.6, 0.35))
    agent = ~bot & (rng.random(n) < np.where(turns.last & ~turns.pleased, 0.8, 0.95))
    note = rng.random(n) < 0.04
    hours = np.exp(0.9 + 0.45 * threads.complexity[thread] + 0.7 * rng.standard_normal(n))
    wait = np.where(threads.live[thread], rng.exponential(2 * MINUTE, n) + 0.2 * MINUTE, hours * HOUR)
    kinds = (
        ("bot", "public", say.BOT, say.BOT_ACTIONS, bot, rng.uniform(1_000_000, 4_000_000, n)),
        ("agent", "public", say.AGENT, say.AGENT_ACTIONS, agent, wait),
        ("agent", "private", say.NOTES, say.NOTE_ACTIONS, note, wait + rng.exponential(HOUR, n)),
    )
    parts = []
    for role, visibility, choices, actions, where, delay in kinds:
        at, of = whole(turns.at[where] + delay[where]), thread[where]
        text, which = say.replies(choices, threads.product[of], threads.category[of], rng)
        parts.append(_messages(of, at, role, text, visibility).assign(step=words(actions, which)))
    return parts


def _messages(thread: Ints, at: Ints, role: str, body: list[str], visibility: str = "public") -> pd.DataFrame:
    texts = np.array(body, dtype=object)
    said = {"thread": thread, "sent_at": at, "role": role, "visibility": visibility, "body": texts}
    return pd.DataFrame(said).assign(step=None)


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Edit the text."""
    return rows.assign(body=rows["body"] + " (edited)")


def grumbles_by_day(settings: WorldSettings, threads: Threads, turns: Turns) -> Floats:
    """Count customers' negative sentences per customer and day."""
    day = (turns.at - start_us(settings)) // DAY
    seen = day < settings.days
    return tally(settings, threads.customer[turns.thread][seen], day[seen], turns.grumbles[seen])
