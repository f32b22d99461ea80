"""Password of the command line: from a file or the environment, never from the arguments, which every process can read."""

from __future__ import annotations

import os

from veltix_tx.errors import SettingsError

__all__ = ["PASSWORD_VARIABLE", "read_password"]

PASSWORD_VARIABLE = "VELTIX_PASSWORD"
"""Variable of the environment that holds the password where no file is given."""

_LONGEST = 4096


def read_password(file: str | None) -> str | None:
    """Return the first line of a file; without a file what the environment says, None where that says nothing.

    Raises:
        SettingsError: the file cannot be read, or its first line is empty, too long or no UTF-8 text.
    """
    if file is None:
        return os.environ.get(PASSWORD_VARIABLE) or None
    rule = "a file with a password, a text of UTF-8, on its first line"
    try:
        with open(file, "rb") as opened:
            line = opened.readline(_LONGEST).rstrip(b"\r\n")
            password = line.decode()
    except OSError as error:
        raise SettingsError("password_file", file, f"{rule} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError("password_file", file, rule) from None
    if not password:
        raise SettingsError("password_file", file, rule)
    return password
