"""What servers of mail are trusted."""

from __future__ import annotations

import ssl

from hermes_agent.core.errors import SettingError


def make_context(ca_file: str) -> ssl.SSLContext:
    """The system's authorities, and those in `ca_file`.

    Raises:
        SettingError: The file cannot be read.
    """
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingError(
                f"The certificates in {ca_file} cannot be used",
                key="platforms.email.extra.tls_ca_file",
                why=str(error),
            ) from error
    return context
