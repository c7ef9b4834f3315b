"""The socket: opening handshake, frames, connection, heartbeat and the reference client.  Knows no Locust."""
