"""Telegram, through the Bot API over HTTP."""
