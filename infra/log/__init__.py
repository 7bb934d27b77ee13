"""The event log: what was accepted, in the order in which it was. One interface; Redis, Kafka and Spark's reader."""
