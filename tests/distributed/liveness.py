"""Liveness: how long Locust waits for a worker's heartbeat, as ``TEST_HEARTBEAT_LIVENESS`` says.

For locustfiles to import: it is a constant of Locust's, and so the same for all runs.
"""

import os

from locust import runners

if beats := os.environ.get("TEST_HEARTBEAT_LIVENESS"):
    runners.HEARTBEAT_LIVENESS = int(beats)
