"""Password of the command line: from a file or the environment, never from the arguments, which every process can read."""

from __future__ import annotations

import os
import re

from veltix_tx.errors import SettingsError

__all__ = [
    "BACKPLANE_KEY_VARIABLE",
    "BACKPLANE_PASSWORD_REMEDY",
    "BACKPLANE_PASSWORD_VARIABLE",
    "PASSWORD_VARIABLE",
    "SECRET_VARIABLES",
    "hide_password",
    "read_password",
    "read_url_password",
]

PASSWORD_VARIABLE = "VELTIX_PASSWORD"
"""Variable of the environment that holds the password where no file is given."""

BACKPLANE_PASSWORD_VARIABLE = "VELTIX_BACKPLANE_PASSWORD"
"""The same for the backplane, where its URL names no password."""

BACKPLANE_PASSWORD_REMEDY = (
    f"Its password is what {BACKPLANE_PASSWORD_VARIABLE} says, or password_file=FILE behind a '?' of the URL."
)
"""What to do where a backplane refuses a node."""

BACKPLANE_KEY_VARIABLE = "VELTIX_BACKPLANE_KEY"
"""Variable of the environment that holds the key of a backplane's nodes where no file is given."""

SECRET_VARIABLES = (PASSWORD_VARIABLE, BACKPLANE_PASSWORD_VARIABLE, BACKPLANE_KEY_VARIABLE)
"""Variables of the environment that hold a secret."""

_LONGEST = 4096


def hide_password(url: str) -> str:
    """Return a URL, or what was meant to be one, without what may be a password in it."""
    return re.sub(r":.*@", ":***@", url, flags=re.DOTALL)


def read_password(
    file: str | None, variable: str = PASSWORD_VARIABLE, setting: str = "password_file", secret: str = "password"
) -> str | None:
    """Return the first line of a file; without a file what the environment says, None where that says nothing.

    Args:
        file: the file's path.
        variable: the variable of the environment.
        setting: the setting that names the file.
        secret: the word for it in errors.

    Raises:
        SettingsError: the file cannot be read, or its first line is empty, too long or no UTF-8 text.
    """
    if file is None:
        return os.environ.get(variable) or None
    rule = f"a file with a {secret}, a text of UTF-8, on its first line"
    try:
        with open(file, "rb") as opened:
            line = opened.readline(_LONGEST).rstrip(b"\r\n")
            password = line.decode()
    except OSError as error:
        raise SettingsError(setting, file, f"{rule} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(setting, file, rule) from None
    if not password:
        raise SettingsError(setting, file, rule)
    return password


def read_url_password(url: str, file: str) -> str | None:
    """Return the first line of the file that a backplane's URL names as ``password_file``; raise SettingsError of the URL."""
    try:
        return read_password(file)
    except SettingsError as error:
        raise SettingsError("backplane", hide_password(url), f"one whose password_file, {file}, is {error.rule}") from None
