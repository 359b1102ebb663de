"""Slash commands in chats. What all surfaces do alike is in `agent.session_commands`."""
