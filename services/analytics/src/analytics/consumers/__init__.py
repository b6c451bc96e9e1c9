"""What makes the reporter act: the day, and a request."""
