"""Every SQL statement and bucket call of config-merger."""
