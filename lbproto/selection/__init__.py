"""Which backend gets a request, and which idle connection to it."""
