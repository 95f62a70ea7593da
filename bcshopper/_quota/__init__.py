"""When a request may go out: one gate for each store."""
