"""The door and the watch: contracts, adapters, bronze, gate and quarantine; drift."""
