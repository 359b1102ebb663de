"""Webhooks: other programs wake the agent with signed HTTP requests; its answer goes to a chat."""
