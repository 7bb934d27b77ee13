"""Servers that speak Redis: the embedded Valkey that a company's processes share, and the online store's address."""
