"""TLS as the settings of a server want it."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

import httpx2

from hermes_agent.config.sections.mcp import McpServerSettings


def make_context(
    settings: McpServerSettings, *, is_own: bool = True, with_certificate: bool = True
) -> ssl.SSLContext:
    """A context for connections. Takes long the first time: call it in a thread.

    Args:
        settings: Of the server.
        is_own: The connection goes to the server itself; `ssl_verify` is about no other host.
        with_certificate: Show our certificate, if there is one.

    Raises:
        OSError: A file is missing, or is no certificate (`ssl.SSLError`).
    """
    is_lax = is_own and not settings.ssl_verify
    certificate = settings.client_cert if with_certificate else ""
    if not is_lax and not certificate and not settings.ca_cert:
        return _usual()
    context = httpx2.create_ssl_context()
    if settings.ca_cert:
        context.load_verify_locations(Path(settings.ca_cert).expanduser())
    if is_lax:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        key = Path(settings.client_key).expanduser() if settings.client_key else None
        context.load_cert_chain(Path(certificate).expanduser(), key)
    return context


@cache
def _usual() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
