"""Which header fields go out, and with what values."""
