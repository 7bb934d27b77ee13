"""The online service: features, scores, events and conversations over HTTP, without the heavy libraries."""
