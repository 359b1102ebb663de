"""`~/.hermes` of people on the host: a link to the service's home while there is a container."""

from __future__ import annotations

import sys
import time
from pathlib import Path

_LINK = ".hermes"


def link_home(user_home: Path, service_home: Path, wanted: Path | None) -> int:
    """Make or remove the link; runs as that user.

    A real directory is moved to `.hermes.bak.<seconds since 1970>` first; a link that leads elsewhere is
    left alone, with a warning.

    Args:
        user_home: The user's home directory.
        service_home: The service's HERMES_HOME.
        wanted: Where the link is to lead; None removes it.

    Returns:
        0, or 1 if it was not possible.
    """
    link = user_home / _LINK
    try:
        if link.is_symlink():
            if link.readlink() != service_home:
                if wanted is not None:
                    print(f"Warning: {link} leads to {link.readlink()}; it is left alone", file=sys.stderr)
                return 0
            if wanted is None:
                link.unlink()
                print(f"{link}: removed")
            return 0
        if wanted is None:
            return 0
        if link.exists():
            kept = link.with_name(f"{_LINK}.bak.{int(time.time())}")
            link.rename(kept)
            print(f"{link}: moved to {kept}")
        link.symlink_to(wanted)
        print(f"{link}: leads to {wanted}")
    except OSError as error:
        print(f"Error: Cannot link {link}\n       {error.strerror}", file=sys.stderr)
        return 1
    return 0
