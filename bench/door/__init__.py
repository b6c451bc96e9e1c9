"""The door for hosts under load: each module measures one part of the table."""
