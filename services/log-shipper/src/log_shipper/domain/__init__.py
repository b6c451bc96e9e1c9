"""Decide: what a message holds, where to cut, who takes a line, what the books say, what may be purged."""
