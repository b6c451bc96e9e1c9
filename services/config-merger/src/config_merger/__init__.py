"""config-merger."""
