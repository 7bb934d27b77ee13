"""Rapport's plug-ins for Feast: offline store, online store, engine, and the row that all writers share."""
