"""Live values: the event log folded into a local store and published, and conversations in progress."""
