"""What is served at a moment: the cached artifacts, the joined online store, readiness and samples."""
