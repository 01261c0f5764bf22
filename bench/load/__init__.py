"""Load that tells what went wrong with it, and a backend that it can check."""
