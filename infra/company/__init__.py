"""A company as data: its file, the sources that it names and how they are read."""
