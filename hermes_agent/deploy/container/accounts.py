"""Users and groups of a container, as texts: `/etc/passwd`, `/etc/group`, `/etc/shadow`.

Standard library only. Nothing of the image is lost: lines that cannot be understood stay as they are, and
whoever has the same number keeps it; ours only comes first, so that the number leads to our name.
"""

from __future__ import annotations

from collections.abc import Iterable


def with_user(passwd: str, name: str, uid: int, gid: int, *, home: str, shell: str) -> str:
    """`/etc/passwd` with a user of these numbers."""
    entry = f"{name}:x:{uid}:{gid}:hermes-agent:{home}:{shell}"
    return _placed(passwd.splitlines(), name, entry, uid)


def with_group(group: str, name: str, gid: int, members: Iterable[str] = ()) -> str:
    """`/etc/group` with a group of this number; its members are kept."""
    lines = group.splitlines()
    own = next((line.split(":") for line in lines if line.split(":")[0] == name), [])
    kept = own[3].split(",") if len(own) > 3 else []
    people = [person for person in dict.fromkeys([*kept, *members]) if person]
    return _placed(lines, name, f"{name}:x:{gid}:{','.join(people)}", gid)


def with_member(group: str, gid: int, user: str, *, name: str) -> str:
    """`/etc/group` with a user as a member of the group of a number.

    Args:
        group: The file.
        gid: The number.
        user: The member.
        name: Of the group, if none has that number.
    """
    lines = group.splitlines()
    for index, line in enumerate(lines):
        fields = line.split(":")
        if len(fields) == 4 and fields[2] == str(gid):
            people = [person for person in fields[3].split(",") if person]
            if user not in people:
                lines[index] = ":".join([*fields[:3], ",".join([*people, user])])
            return _joined(lines)
    return _joined([*lines, f"{name}:x:{gid}:{user}"])


def with_shadow(shadow: str, name: str) -> str:
    """`/etc/shadow` with a user that has no password and is not locked out."""
    if any(line.split(":")[0] == name for line in shadow.splitlines()):
        return shadow
    return _joined([*shadow.splitlines(), f"{name}:*:19000:0:99999:7:::"])


def _placed(lines: list[str], name: str, entry: str, number: int) -> str:
    """Our entry where it was, but before anybody else of that number."""
    others: list[str] = []
    place = None
    for line in lines:
        fields = line.split(":")
        is_ours = fields[0] == name
        if place is None and (is_ours or (len(fields) > 2 and fields[2] == str(number))):
            place = len(others)
        if not is_ours:
            others.append(line)
    place = len(others) if place is None else place
    return _joined([*others[:place], entry, *others[place:]])


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
