"""wsoak: WebSocket load and soak testing on Locust."""
