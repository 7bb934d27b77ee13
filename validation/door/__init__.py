"""The door of streamed events: the gate's verdicts, event by event, as they come."""
