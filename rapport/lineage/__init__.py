"""Lineage both ways, read from what each step left behind: commits, accounts, manifests."""
