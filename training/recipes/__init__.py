"""The learners, one file each, all of one form."""
