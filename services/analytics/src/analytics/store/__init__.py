"""Counts from other owners' tables, and the reports of this schema."""
