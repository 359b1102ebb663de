"""Servers of the Model Context Protocol: the client side (`manager`), the OAuth broker and our own server.

One long-lived task owns each server: it connects, keeps the session and cleans up (`connection`). Only
`client`, `transports`, `stdio` and what they import know the `mcp` SDK; they are loaded when the first
server is connected to.
"""
