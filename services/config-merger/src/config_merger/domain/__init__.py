"""What config-merger decides: which bytes a class of hosts gets, and why."""
