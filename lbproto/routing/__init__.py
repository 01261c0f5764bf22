"""Which route a request takes, and where that leads."""
