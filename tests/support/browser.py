"""A real browser: chromium, driven by chromedriver over HTTP (the protocol WebDriver), for tests of the operator's page."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["MISSING", "Browser", "wait"]

MISSING = (
    ""
    if shutil.which("chromium") and shutil.which("chromedriver")
    else "it needs a browser: apt-get install chromium chromium-driver"
)
"""Why there is no browser; empty where there is one."""

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " "}

_T = TypeVar("_T")


def wait(look: Callable[[], _T], seconds: float = 30.0) -> _T:
    """Return what a function returns, once that is true; fail after some seconds."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"it did not happen in {seconds} s"
        time.sleep(0.05)


class Browser:
    """A browser with one window.

    Args:
        folder: where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True, cwd=folder)
        try:
            assert self._driver.stdout is not None
            found = None
            for line in self._driver.stdout:
                found = re.search(r"started successfully on port (\d+)", line)
                if found:
                    break
            assert found is not None
            self._http = HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
            arguments = [
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                f"--user-data-dir={folder}/profile",
            ]
            options = {"binary": shutil.which("chromium"), "args": arguments}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            self._session = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self._end_driver()
            raise

    def close(self) -> None:
        """Close it."""
        try:
            self._ask("DELETE", f"/{self._session}")
        finally:
            self._http.close()
            self._end_driver()

    def open(self, url: str) -> None:
        """Go to an address, from an empty page."""
        for each in ("about:blank", url):
            self._do("url", url=each)

    def script(self, text: str, *arguments: object) -> Any:
        """Run the body of a function, and return its result; a promise is waited for."""
        return self._do("execute/sync", script=text, args=arguments)

    def text(self, selector: str) -> str:
        """Return the text that an element shows, empty where there is none."""
        found: str = self.script("return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector)
        return found

    def texts(self, selector: str) -> list[str]:
        """Return the texts that elements show."""
        found: list[str] = self.script(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText.trim())", selector
        )
        return found

    def click(self, selector: str) -> None:
        """Click on an element, which must be where a person could."""
        self._do(f"element/{self._find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Type a text into an element."""
        element = self._find(selector)
        self._do(f"element/{element}/clear")
        self._do(f"element/{element}/value", text=text)

    def press(self, *keys: str) -> None:
        """Press keys, where the focus is."""
        pressed = [_KEYS.get(key, key) for key in keys]
        actions = [{"type": kind, "value": key} for key in pressed for kind in ("keyDown", "keyUp")]
        self._do("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def emulate(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Show pages in so many pixels, light or dark."""
        self._devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self) -> bytes:
        """Return a PNG of what is shown."""
        with_all = self._ask("GET", f"/{self._session}/screenshot")
        return base64.b64decode(with_all)

    def errors(self) -> list[str]:
        """Return what the browser complained of since the last time."""
        found = self._do("se/log", type="browser")
        return [each["message"] for each in found if each["level"] == "SEVERE"]

    def _devtools(self, command: str, **parameters: object) -> None:
        self._do("goog/cdp/execute", cmd=command, params=parameters)

    def _find(self, selector: str) -> str:
        found: str = self._do("element", using="css selector", value=selector)[_ELEMENT]
        return found

    def _do(self, command: str, **parameters: object) -> Any:
        return self._ask("POST", f"/{self._session}/{command}", parameters)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        self._http.request(method, f"/session{path}", json.dumps(body) if body is not None else None)
        said = json.loads(self._http.getresponse().read())["value"]
        if isinstance(said, dict) and "error" in said:
            raise AssertionError(f"{said['error']}: {said['message']}")
        return said

    def _end_driver(self) -> None:
        self._driver.terminate()
        self._driver.wait(10)
        if self._driver.stdout is not None:
            self._driver.stdout.close()
