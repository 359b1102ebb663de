"""The OAuth broker: the one owner of the tokens of MCP servers, for every process of a home.

::

    broker      one per process: a provider per server, the disk watch, logout
    provider    one server's credential: refresh, recovery after a 401, step-up
    login       a person signs in: address, redirect (or its paste), exchange
    discovery   which authorization server, and what it offers (RFC 9728, RFC 8414, OIDC)
    client      who we are there: registered before, a metadata document, or registered now
    endpoint    requests to the token endpoint, with every way to authenticate
    files       `mcp-tokens/`: formats, modes, the lock between processes
    web         HTTP that refuses what a server may not make us do (SSRF, redirects)

See docs/mcp-oauth.md.
"""
