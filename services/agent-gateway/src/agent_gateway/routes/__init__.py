"""In by HTTP: one file per path group; read the body, call domain, answer."""
