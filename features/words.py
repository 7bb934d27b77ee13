"""Word lists that features share, as regular expressions over lower-cased text, in the dialect all engines share."""

NEGATIVE = (
    "angry|annoy|awful|bad|broken|cancel|complain|disappoint|fail|fed up|frustrat|horrible|ridiculous|"
    "terrible|unacceptable|upset|useless|waiting|worst|wrong"
)
