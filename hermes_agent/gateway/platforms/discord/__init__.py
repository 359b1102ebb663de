"""Discord: a bot over the gateway (WebSocket) and the REST API v10."""
