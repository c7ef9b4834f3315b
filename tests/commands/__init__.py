"""Tests of the small commands. Locust comes first: it patches the standard library."""

import locust

__all__ = ["locust"]
