"""The survey tool's feed: what customers answer after a ticket and now and then, some of them without a name.

Answers follow from hidden satisfaction and from what the ticket was like: waiting, a missed service level, hand-overs.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world import words as say
from rapport.world.chance import (
    DAY,
    HOUR,
    Array,
    Floats,
    Ints,
    draw,
    moments,
    numbered,
    occurrences,
    start_us,
    stream,
    whole,
    without,
)
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.tickets import SLA_DAYS, Tickets
from rapport.world.truth import Population, States

NPS_RATE = 0.006
"""Answers per customer and day of those who are active."""
FIRST_WAVE = 0.02
"""Share of customers who answer in the first hours, in a wave that was sent before the first night."""
WEIGHTS = np.array([0.9, 1.2, 1.6])
"""What an answer weighs, by segment: the small ones are asked more rarely."""


@dataclass(frozen=True)
class Answers:
    """Answers of one kind; each array has shape (answers,). A ticket below zero is none."""

    survey: str
    customer: Ints
    at: Ints
    score: Floats
    good: Floats
    ticket: Ints
    weight: Floats
    named: Array


def feed(settings: WorldSettings, people: Population, states: States, tickets: Tickets) -> Feed:
    """Return the survey tool's feed."""
    rng = stream(settings, "surveys")
    kinds = [*_after_tickets(settings, states, tickets, rng), *_now_and_then(settings, people, states, rng)]
    answers = pd.concat([pd.DataFrame(vars(kind)) for kind in kinds], ignore_index=True)
    answers = answers.sort_values("at", kind="stable", ignore_index=True)
    n, asked = len(answers), answers["ticket"].to_numpy()
    rows = pd.DataFrame(
        {
            "answer_id": numbered("A", np.arange(n)),
            "customer_no": without(numbered("C", answers["customer"].to_numpy(), 6), ~answers["named"].to_numpy()),
            "survey": answers["survey"],
            "score": answers["score"],
            "weight": answers["weight"],
            "channel": np.where(asked < 0, draw(("email", "app", "web"), (0.5, 0.3, 0.2), n, rng), "email"),
            "ticket": without(numbered("T", asked), asked < 0),
            "comment": _comments(answers["good"].to_numpy(), rng),
            "answered_at": answers["at"],
            "deleted": np.zeros(n, bool),
        }
    )
    spoils = ({"survey": "horoscope"}, {"answered_at": "tomorrow"}, {"score": 400.0}, {"weight": -1.0})
    path, full = "surveys/answers-{night}.jsonl", start_us(settings) + 4 * HOUR
    gone = {"comment": None, "deleted": True}
    return Feed("surveys", path, "answer_id", "answered_at", rows, spoils, _revise, gone, prompt_until=full)


def _after_tickets(settings: WorldSettings, states: States, tickets: Tickets, rng: Generator) -> list[Answers]:
    """Satisfaction and effort after resolved tickets: three in ten and one in ten answer."""
    luck, noise = rng.random(len(tickets.day)), rng.standard_normal(len(tickets.day))
    at = tickets.at(tickets.resolved + rng.uniform(0.05, 2.0, len(tickets.day)))
    day = (at - start_us(settings)) // DAY
    feels = states.satisfaction[tickets.customer, np.minimum(day, settings.days - 1)]
    late = tickets.resolved > SLA_DAYS[tickets.priority - 1]
    moves = np.isfinite(tickets.moves).sum(axis=1)
    csat = 4.1 + 0.6 * feels - 0.8 * late - 0.45 * np.log(tickets.resolved) - 0.3 * moves + 0.6 * noise
    ces = 5.2 + 0.5 * feels - 0.9 * moves - 0.5 * np.log(tickets.resolved) + 0.8 * noise
    found = []
    for survey, mood, most, where in (("csat", csat, 5, luck < 0.3), ("ces", ces, 7, (luck >= 0.3) & (luck < 0.4))):
        of = np.flatnonzero(where & (day < settings.days))
        score = np.clip(np.rint(mood[of]), 1, most)
        good = (score - 1) / (most - 1)
        found.append(_answers(survey, tickets.customer[of], at[of], score, good, of, named=0.97, rng=rng))
    return found


def _now_and_then(settings: WorldSettings, people: Population, states: States, rng: Generator) -> list[Answers]:
    """Recommendation from customers now and then, and polls whose answers carry a weight and never a name."""
    rate = np.where(states.session_rate > 0, NPS_RATE, 0.0) * np.where(states.active, 1.0, 0.3)
    wave = people.initial[: max(1, round(FIRST_WAVE * settings.customers))]
    found = []
    for survey, share, named in (("nps", 1.0, 0.75), ("poll", 0.4, 0.0)):
        customer, day = occurrences(rate * share, rng)
        at = moments(settings, day, rng)
        if survey == "nps":
            early = start_us(settings) + whole(rng.uniform(0, 4 * HOUR, len(wave)))
            customer, day = np.concatenate([wave, customer]), np.concatenate([np.zeros(len(wave), int), day])
            at = np.concatenate([early, at])
        feels, upset = states.satisfaction[customer, day], states.frustration[customer, day]
        mood = 0.7 + 0.17 * feels - 0.07 * upset + 0.12 * rng.standard_normal(len(at))
        score = np.clip(np.rint(10 * mood), 0, 10) * (1 if survey == "nps" else 10)
        weight = WEIGHTS[people.segment[customer]]
        found.append(_answers(survey, customer, at, score, np.clip(mood, 0, 1), weight=weight, named=named, rng=rng))
    return found


def _answers(
    survey: str,
    customer: Ints,
    at: Ints,
    score: Floats,
    good: Floats,
    ticket: Ints | None = None,
    weight: Floats | None = None,
    *,
    named: float,
    rng: Generator,
) -> Answers:
    n = len(at)
    return Answers(
        survey, customer, at, score, good, np.full(n, -1) if ticket is None else ticket,
        np.full(n, np.nan) if weight is None else weight, rng.random(n) < named,
    )  # fmt: skip


def _comments(good: Floats, rng: Generator) -> Array:
    """Two in five add something in words, whose tone goes with the score."""
    n = len(good)
    tone = np.digitize(good + 0.15 * rng.standard_normal(n), (0.4, 0.75))
    dice = rng.integers(0, 1 << 30, n)
    choices = (say.NEGATIVE, say.NEUTRAL, say.POSITIVE)
    rows = zip(tone.tolist(), dice.tolist(), say.contacts(n, rng), strict=True)
    said = [f"{choices[k][die % len(choices[k])]} {contact}".strip() for k, die, contact in rows]
    return without(np.asarray(said, dtype=object), rng.random(n) >= 0.4)


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Add to the words."""
    return rows.assign(comment=rows["comment"].fillna("") + " (edited)")
