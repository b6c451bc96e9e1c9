"""The collector's door."""
