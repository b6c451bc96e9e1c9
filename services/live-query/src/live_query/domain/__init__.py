"""Decides: who is targeted, what an answer means, when a campaign ends."""
