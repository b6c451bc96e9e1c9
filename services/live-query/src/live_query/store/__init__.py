"""Keeps: every SQL statement, Redis call and bucket access."""
