"""What services with HTTP share: health endpoints, the table from kinds of error to statuses."""
