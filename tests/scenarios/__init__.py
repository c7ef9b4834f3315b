"""Tests of the scenarios. Locust comes first, as it monkey-patches when it is imported."""

import locust

__all__ = ["locust"]
