"""Events on their way into the log: judged, durable when acknowledged, spooled while the log is away."""
