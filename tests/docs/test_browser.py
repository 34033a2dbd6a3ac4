"""The pages in a real browser, at the widths of a desktop and of a phone."""

from __future__ import annotations

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

WIDTHS = {"desktop": (1400, 900), "phone": (390, 844)}
API_PAGES = ("scdtl.pp.impute", "scdtl.SCDTL", "scdtl.settings")

# What a reader would miss or stumble over. Other hosts (MathJax) are not reached from here.
LOOK = """
const shown = el => el.getClientRects().length > 0;
const page = document.documentElement;
const out = [...document.querySelectorAll("main *")].filter(el => shown(el)
    && el.getBoundingClientRect().right > page.clientWidth + 1
    && !scrolls(el));
function scrolls(el) {
  for (let e = el; e && e !== document.body; e = e.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true;
  return false;
}
return {
  overflow: page.scrollWidth - page.clientWidth,
  wide: out.slice(0, 3).map(el => el.outerHTML.slice(0, 150)),
  images: [...document.images].filter(i => i.complete && !i.naturalWidth && shown(i))
    .map(i => i.src),
  missing: performance.getEntriesByType("resource")
    .filter(r => r.name.startsWith(location.origin) && r.responseStatus >= 400).map(r => r.name),
};
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium or Chrome."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--no-sandbox",  # which root, as in a container, must not have
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.mark.parametrize("device", WIDTHS)
def test_pages_look_right_in_a_browser(
    device: str, site: Path, address: str, browser: Any
) -> None:
    width, height = WIDTHS[device]
    names = [path.relative_to(site).as_posix() for path in site.glob("*.html")]
    names += [f"generated/tutorials/{p.name}" for p in site.glob("generated/tutorials/*.html")]
    names += [f"generated/api/{name}.html" for name in API_PAGES]
    problems = {}
    for name in sorted(names):
        _resize(browser, width, height, is_phone=device == "phone")
        browser.get(f"{address}/{name}")
        seen = browser.execute_script(LOOK)
        errors = [
            entry["message"]
            for entry in browser.get_log("browser")
            if entry["level"] == "SEVERE" and ("127.0.0.1" in entry["message"].split(" ")[0])
            if "ERR_NAME_NOT_RESOLVED" not in entry["message"]
        ]
        found = {
            "sideways scrolling": seen["overflow"] > 1 and (seen["overflow"], seen["wide"]),
            "cut off": seen["wide"],
            "images": seen["images"],
            "missing": seen["missing"],
            "console": errors,
        }
        if any(found.values()):
            problems[name] = {key: value for key, value in found.items() if value}
        if folder := os.environ.get("SCDTL_SCREENSHOTS"):
            _keep(browser, Path(folder) / device / f"{name.replace('/', '_')}.png", width)
    print(f"{len(names)} pages, {device}")
    assert not problems, "\n".join(f"{name}: {found}" for name, found in problems.items())


def _resize(browser: Any, width: int, height: int, *, is_phone: bool) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _keep(browser: Any, path: Path, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    _resize(browser, width, min(height, 6000), is_phone=width < 500)
    browser.save_screenshot(str(path))
