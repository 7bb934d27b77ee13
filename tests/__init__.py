"""Tests, by kind. They stand in the rooms, as the command line does."""

from rapport import rooms

rooms.enter()
