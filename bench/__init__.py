"""The benchmark suite: the same WebSocket work done by several clients, as ratios measured in one run."""
