"""Feast's objects made from the catalogue, and the publication of nights through Feast."""
