"""Features are declared once and computed anywhere: in the night, for any past moment, and in the stream."""
