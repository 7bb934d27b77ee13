"""Scores: the champions, what they read and what they answer."""
