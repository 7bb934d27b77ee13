"""The lake: Delta tables partitioned by night, replaced whole nights at a time, with a checksum in every file name."""
