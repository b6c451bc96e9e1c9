"""Every SQL statement and Redis call, one file per table group."""
