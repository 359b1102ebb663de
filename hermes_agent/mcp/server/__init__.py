"""`hermes mcp serve`: the conversations of this agent, for other programs that speak MCP.

::

    conversations   reading: chats, sessions, messages, attachments, events
    actions         what needs the running gateway: sending, permissions
    application     the SDK's server with the tools of both; stdio
    http            Streamable HTTP: token, origin, host
    token           which token will do
"""
