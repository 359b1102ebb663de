"""Chats with people on messaging platforms: who may talk, which session, what is sent and how often."""
