"""admin-api."""
