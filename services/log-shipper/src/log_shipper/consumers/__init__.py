"""Drain the stream, count it, purge it, answer for it."""
