"""``rapport new``: a small company of the user's own that runs at once, with an example of all that it may declare."""
