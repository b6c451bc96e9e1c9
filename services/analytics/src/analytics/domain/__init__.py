"""Decide: what a report says, and when one is due."""
