"""Folders that nobody else may write or look into, and short names for what is in them.

A folder is checked once, by descriptor, and everything in it is then reached through that
descriptor: what others do to the path meanwhile changes nothing. Never repairs what it does not
like: a folder that another user prepared is refused, not corrected.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat


def open_private(path: str) -> int:
    """Return a descriptor of a folder that is ours alone, to be closed by the caller.

    Raises OSError; a PermissionError tells in its strerror what is not private about it.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if os.path.islink(path):
            raise _refused(path, "it is a symbolic link") from None
        raise error from None
    what = os.fstat(folder)
    uid, mode = os.geteuid(), stat.S_IMODE(what.st_mode)
    if what.st_uid == uid and not mode & 0o077:
        return folder
    os.close(folder)
    if what.st_uid != uid:
        raise _refused(path, f"it belongs to uid {what.st_uid}, and we are uid {uid}")
    raise _refused(path, f"its mode {mode:04o} lets others in (`chmod 700 {path}` first)")


def make_private(path: str) -> int:
    """Return a descriptor of the folder, made with mode 0700 where it is missing.

    Missing folders above it are made for all to pass. Raises OSError as open_private does.
    """
    make_folders(os.path.dirname(path), 0o755)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    return open_private(path)


def make_passable(path: str) -> None:
    """Make a folder that is ours, and that others may pass without a look. Raises OSError."""
    make_folders(os.path.dirname(path), 0o755)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        what = os.fstat(folder)
        if what.st_uid != os.geteuid() or what.st_mode & 0o022:
            raise _refused(path, "it is not ours alone to write")
        os.fchmod(folder, 0o711)
    finally:
        os.close(folder)


def passable_beside(folder: str) -> str:
    """Return the path for such a folder beside one that is not to be passed.

    The sign is one that stands in no name: nobody else's project or service has that path.
    """
    return f"{folder}+notify"


def make_folders(path: str, mode: int) -> None:
    """Make a folder and all missing ones above it with this mode, less the umask. Raises OSError.

    Unlike os.makedirs, which leaves it to the umask alone who may write the ones above.
    """
    if path and not os.path.isdir(path):
        make_folders(os.path.dirname(path), mode)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)


def by_descriptor(folder: int, name: str) -> str:
    """Return a path of a file in an open folder: short, however deep the folder is."""
    return f"/proc/self/fd/{folder}/{name}"


def write_private(folder: int, name: str, data: bytes) -> None:
    """Put a file of mode 0600 in place of the old one, wholly or not at all. Raises OSError."""
    write_beside(folder, name, data)
    os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def write_beside(folder: int, name: str, data: bytes) -> None:
    """Write NAME.new, mode 0600, to take the place of NAME by a rename. Raises OSError."""
    new = f"{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(new, flags, 0o600, dir_fd=folder)
    try:
        os.fchmod(fd, 0o600)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _refused(path: str, why: str) -> PermissionError:
    return PermissionError(errno.EPERM, why, path)
