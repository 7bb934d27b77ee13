"""Sources to bronze: text as it came, stamped once with the moment at which it became available."""
