"""Refuse Python packages that are in the sealed environment already.

    check-collisions.py SEALED_SITE_PACKAGES EXTRA_SITE_PACKAGES...

Two versions of one library on one path would be used in parts. Names are compared as PyPI does: lower
case, runs of `-`, `_` and `.` are one `-`.
"""

import pathlib
import re
import sys


def distributions(site_packages: pathlib.Path) -> set[str]:
    """Canonical names of what is installed in a site-packages folder."""
    names = set()
    for info in (*site_packages.glob("*.dist-info"), *site_packages.glob("*.egg-info")):
        name = re.sub(r"(\.dist|\.egg)-info$", "", info.name).split("-")[0]
        for file in ("METADATA", "PKG-INFO"):
            metadata = info / file
            if metadata.is_file():
                found = re.search(r"^Name:\s*(\S+)", metadata.read_text("utf-8", "replace"), re.MULTILINE)
                name = found.group(1) if found else name
        names.add(re.sub(r"[-_.]+", "-", name).lower())
    return names


def main() -> int:
    """Compare; the exit code is 1 if a name occurs twice."""
    sealed = distributions(pathlib.Path(sys.argv[1]))
    collisions = {
        name: path for path in sys.argv[2:] for name in sorted(distributions(pathlib.Path(path)) & sealed)
    }
    for name, path in collisions.items():
        print(
            f"hermes-agent: extraPythonPackages brings {name!r} ({path}), which is in the sealed environment"
            f" already. Leave it out, or use extraDependencyGroups, which resolves all versions together.",
            file=sys.stderr,
        )
    return 1 if collisions else 0


sys.exit(main())
