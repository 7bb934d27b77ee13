"""Answers to surveys and polls."""

from validation.contracts.language import Column, Contract
from validation.contracts.words import CHANNELS

SURVEY_ANSWERS = Contract(
    "survey_answers",
    "an answer to a survey or poll",
    (
        Column("survey", "text", "kind of survey", required=True, allowed=("csat", "nps", "ces", "poll")),
        Column("score", "decimal", "answer on the survey's own scale", required=True, least=0, most=100),
        Column("weight", "decimal", "weight of the answer in its sample; 1 where none", least=1e-6, most=1e6),
        Column("channel", "text", "how it was asked", allowed=CHANNELS),
        Column("ticket_id", "text", "ticket that it asks about"),
        Column("verbatim", "text", "what was added in words", masked=True),
    ),
    anonymous=True,
)
