"""The gate: bronze to silver, quarantine and duplicates, by parser and Great Expectations suite."""
