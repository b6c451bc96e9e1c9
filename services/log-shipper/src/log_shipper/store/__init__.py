"""What log-shipper reads and keeps: the stream, and the tables of its schema."""
