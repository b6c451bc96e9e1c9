"""Live queries at the size of a fleet: each module measures one part of the table."""
