"""Is what was served what the facts say? Served samples are computed again and differences explained."""
