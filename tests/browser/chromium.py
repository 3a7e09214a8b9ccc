"""Debian's Chromium through its driver: opens a file, and looks like what it is asked to."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--force-device-scale-factor=1",
)  # fmt: skip
WIDTH, HEIGHT = 1400, 1000
SECONDS = 60

READY = """
const done = arguments[0];
const told = (error) => done(String(error && error.stack || error));
Promise.resolve(page.mapShown).then(() => page.chartsShown).then(() => done(""), told);
"""


class Browser:
    def __init__(self, profile: Path) -> None:
        options = ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for switch in (*SWITCHES, f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_script_timeout(SECONDS)

    def quit(self) -> None:
        self.driver.quit()

    def open(self, path: Path) -> None:
        """Open a page, as a screen in light colours shows it, and wait until all of it is drawn."""
        self.look()
        self.size(WIDTH, HEIGHT)
        self.complaints(), self.requests()
        self.driver.get(path.as_uri())
        failed = self.driver.execute_async_script(READY)
        assert not failed, failed

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Open pages in a tab of their own meanwhile."""
        here = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        try:
            yield
        finally:
            self.driver.close()
            self.driver.switch_to.window(here)

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def cdp(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def look(self, scheme: str = "light", media: str = "", motion: str = "no-preference") -> None:
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        listed = [{"name": name, "value": value} for name, value in features.items()]
        self.cdp("Emulation.setEmulatedMedia", media=media, features=listed)

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=mobile,
        )  # fmt: skip

    def complaints(self) -> list[str]:
        """What the console was told since the last time it was asked; violations of the policy as well."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    @contextmanager
    def before_scripts(self, code: str) -> Iterator[None]:
        """Run code before those of each page that is opened meanwhile."""
        made = self.cdp("Page.addScriptToEvaluateOnNewDocument", source=code)
        try:
            yield
        finally:
            self.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=made["identifier"])

    def hover(self, element: WebElement, x: float, y: float) -> ActionChains:
        """Move to a place in an element, from its upper left corner."""
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        width, height = element.rect["width"], element.rect["height"]
        chain = ActionChains(self.driver, duration=0)
        chain.move_to_element_with_offset(element, int(x - width // 2), int(y - height // 2)).perform()
        return chain

    def pdf(self) -> bytes:
        return base64.b64decode(self.cdp("Page.printToPDF", printBackground=True)["data"])
