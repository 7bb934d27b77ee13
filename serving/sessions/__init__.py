"""Conversations in progress: their turns in the online store, and their features at any moment."""
