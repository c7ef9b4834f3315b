"""Runs of one master and several workers, as processes of their own, against a target of their own.

Locust comes first, as it monkey-patches when it is imported.
"""

import locust

__all__ = ["locust"]
