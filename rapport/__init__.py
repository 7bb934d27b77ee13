"""The front door: command line, local stack, lineage, simulated world. It imports anything; nothing imports it."""
