"""One algebra of aggregates compiled to queries: for nights, for any past moment, and for the stream."""
