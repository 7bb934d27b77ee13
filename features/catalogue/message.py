"""The message just typed: features of the request itself, before the message is a fact."""

from features.declare import Derived, Expect, Request, col, when
from features.declare.word_lists import INSISTENT, LEAVING, NEGATIVE, POSITIVE, frustration

TEXT = col("text")
YES_OR_NO = Expect(0, 1, filled=1)

REQUEST = Request(
    name="message",
    description="A customer's message that waits for an answer.",
    owner="support",
    purpose="service",
    fact="interactions",
    inputs=("text", "channel"),
    where=(col("author_role") == "customer") & (col("visibility") == "public"),
    derived=(
        Derived("message__length", TEXT.length(), "characters", empty=0, expect=Expect(least=0, filled=1)),
        Derived("message__words", TEXT.words(), "words", empty=0, expect=Expect(least=0, filled=1)),
        Derived("message__word_length", col("message__length") / col("message__words"), "characters a word"),
        Derived("message__frustration", frustration(TEXT), "points for frustration", expect=Expect(-1, 9, filled=1)),
        Derived("message__negative", when(TEXT.matches(NEGATIVE), 1, 0), "1: negative words", expect=YES_OR_NO),
        Derived("message__positive", when(TEXT.matches(POSITIVE), 1, 0), "1: kind words", expect=YES_OR_NO),
        Derived("message__insistent", when(TEXT.matches(INSISTENT), 1, 0), "1: insistent words", expect=YES_OR_NO),
        Derived("message__leaving", when(TEXT.matches(LEAVING), 1, 0), "1: words of leaving", expect=YES_OR_NO),
        Derived("message__asks", when(TEXT.matches("[?]"), 1, 0), "1: a question mark", expect=YES_OR_NO),
        Derived(
            "message__live",
            when(col("channel").isin("chat", "call", "app"), 1, 0),
            "1: the channel is one on which somebody waits for the answer",
            expect=YES_OR_NO,
        ),
    ),
)
