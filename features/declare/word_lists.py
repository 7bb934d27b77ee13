r"""Word lists that features share, as regular expressions over lower-cased text, and what is made of them.

All engines must read a pattern alike: letters, ``|``, classes, groups and ``^``; no ``\b``, ``\w``, ``\d`` or ``$``.
"""

from features.declare.terms import Term, when

NEGATIVE = (
    "angry|annoy|awful|bad|broken|cancel|complain|disappoint|fail|fed up|frustrat|horrible|ridiculous|"
    "terrible|unacceptable|upset|useless|waiting|worst|wrong"
)
POSITIVE = "appreciate|excellent|friendly|great|happy|perfect|solved|thank|wonderful"
INSISTENT = "again|already|asap|at once|immediately|manager|nobody answers|still not|three times|urgent"
LEAVING = "cancel|competitor|money back|refund|switch to|waste of time"
LONG_MESSAGE = 160


def frustration(text: Term) -> Term:
    """Return points for how upset a turn sounds: words, exclamation marks and length, less a point for kind words."""
    points = when(text.matches(NEGATIVE), 3, 0) + when(text.matches(INSISTENT), 2, 0)
    points = points + when(text.matches(LEAVING), 2, 0) + when(text.matches("!"), 1, 0)
    return points + when(text.length() > LONG_MESSAGE, 1, 0) - when(text.matches(POSITIVE), 1, 0)
