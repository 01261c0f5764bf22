"""Giving up the rights of root, for good.

Done after everything that needs them: sockets are bound, logs and the pid file are
open and belong to the new user. The order is the only one that works (groups, group,
user), and afterwards it is tried to take the rights back: if that succeeds, nothing
was given up and nothing may be served.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
import resource
from typing import Final

from lbproto.machine.errors import LbError

__all__ = ["Identity", "PrivilegeError", "become", "identity"]

PR_SET_NO_NEW_PRIVS: Final = 38


class PrivilegeError(LbError):
    """There is no such user or group, or it cannot be had."""


class Identity:
    """Who to become."""

    def __init__(self, name: str | None, user: int | None, group: int | None) -> None:
        self.name = name
        self.user = user
        self.group = group

    def own(self, path: str | None) -> None:
        """Give a file to this user, if it is ours to give.

        Raises:
            PrivilegeError: it is not.
        """
        if path is None or (self.user is None and self.group is None):
            return
        user = -1 if self.user is None else self.user
        group = -1 if self.group is None else self.group
        try:
            os.chown(path, user, group, follow_symlinks=False)
        except OSError as error:
            message = f"cannot give {path} to {self.name}: {error.strerror}"
            raise PrivilegeError(message) from None


def identity(user: str | None, group: str | None) -> Identity:
    """Look up a user and a group; a user alone means its own group.

    Raises:
        PrivilegeError: there is no such user or group.
    """
    uid = gid = None
    try:
        if user is not None:
            found = pwd.getpwnam(user)
            uid, gid = found.pw_uid, found.pw_gid
    except KeyError:
        raise PrivilegeError(f"there is no user {user!a}") from None
    try:
        if group is not None:
            gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise PrivilegeError(f"there is no group {group!a}") from None
    return Identity(user, uid, gid)


def become(who: Identity) -> None:
    """Become somebody else, and make sure that there is no way back.

    Raises:
        PrivilegeError: it did not work; nothing may be served then.
    """
    if who.user is None and who.group is None:
        return
    try:
        if os.geteuid() == 0:
            if who.name is not None and who.group is not None:
                os.initgroups(who.name, who.group)
            else:
                os.setgroups([])
        if who.group is not None:
            os.setresgid(who.group, who.group, who.group)
        if who.user is not None:
            os.setresuid(who.user, who.user, who.user)
    except OSError as error:
        message = f"cannot become {who.name or who.group}: {error.strerror}"
        raise PrivilegeError(message) from None
    if who.user:
        with contextlib.suppress(OSError):
            os.setuid(0)
            raise PrivilegeError("the rights of root came back")
    # Keys are in memory, and a core file would be the new user's.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # No program that a worker might ever start gets rights that it has not.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
