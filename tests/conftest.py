"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

# A machine under load is slow, and no test here judges speed.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("nightly", deadline=None, max_examples=5000)
settings.load_profile("default")
