"""Bytes of one connection to and from HTTP messages."""
