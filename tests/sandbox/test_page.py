"""The sandbox's page, in a real browser."""

import json
import re
import shutil
import urllib.error
import urllib.request

import pytest

from bcshopper.sandbox import Rules, Sandbox
from bcshopper.sandbox._admin import _PAGE
from tests.cli import wait_until

pytestmark = pytest.mark.real_time

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, with a profile of its own."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver, which show the page, are not on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def sandbox():
    rules = Rules(quota=150, window=3600.0)
    with Sandbox(customers=10, profiles=3, rules=rules) as sandbox:
        yield sandbox


@pytest.fixture
def page(browser, sandbox):
    """The page of this sandbox, once it shows something."""
    browser.get(f"{sandbox.url}/_sandbox/")
    page = Page(browser)
    wait_until(lambda: page.count("profiles") == 3)
    yield page
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


class Page:
    def __init__(self, browser):
        self.browser = browser

    def text(self, css):
        """What there is to read."""
        return self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", css
        )

    def count(self, name):
        pairs = dict(text.split("\n") for text in self.text("#counts div"))
        return int(pairs.get(name, "-1").replace(",", ""))

    def rows(self):
        return [text.split("\t") for text in self.text("#requests tr")]

    def press(self, name):
        self.browser.find_element("xpath", f"//button[text()={name!r}]").click()


def ask(sandbox, method="GET", path="shopper-profiles", body=None):
    """A request of some client; its status, or None where there was no answer."""
    request = urllib.request.Request(
        f"{sandbox.url}/stores/{sandbox.store_hash}/v3/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-Auth-Token": sandbox.access_token, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_a_request_shows_up(page, sandbox):
    """With its query, status and time, and the counts follow; nobody reloads the page."""
    assert ask(sandbox, "POST", body=[{"customer_id": 7}]) == 201
    assert ask(sandbox, path="shopper-profiles?limit=2") == 200
    wait_until(lambda: len(page.rows()) == 2 and page.count("profiles") == 4)
    newest, oldest = page.rows()
    assert newest[:3] == ["2", "GET shopper-profiles?limit=2", "200"]
    assert oldest[:3] == ["1", "POST shopper-profiles", "201"]
    assert re.fullmatch(r"\d\d:\d\d:\d\d, \d+ ms", newest[3])
    assert page.count("requests") == 2


def test_a_queued_fault_fires(page, sandbox):
    """The next request meets it, and its answer shows what became of it."""
    page.press("a lost answer")
    wait_until(lambda: page.text("#queued") == ["1 faults are queued"])
    assert ask(sandbox, "POST", body=[{"customer_id": 7}]) is None
    wait_until(lambda: page.rows() and page.rows()[0][2] == "no answer")
    wait_until(lambda: page.count("profiles") == 4)
    assert page.text("#queued") == ["0 faults are queued"]
    assert "meets a lost answer" in page.text("#said")[0]


def test_each_fault_that_has_a_button_exists(page, sandbox):
    """None of them is refused; to forget them leaves none."""
    buttons = page.browser.find_elements("css selector", "#faults button")
    for number, button in enumerate(buttons, 1):
        button.click()
        wait_until(lambda number=number: len(sandbox.faults.unused) == number)
    assert len(buttons) >= 5
    page.press("Forget all faults")
    wait_until(lambda: page.text("#queued") == ["0 faults are queued"])
    assert sandbox.faults.unused == []


def test_a_reset_empties_it(page, sandbox):
    """The requests go from the page, the store is as it was, and what comes next is shown."""
    assert ask(sandbox, "DELETE") == 204
    wait_until(lambda: len(page.rows()) == 1 and page.count("profiles") == 0)
    page.press("Reset the store")
    wait_until(lambda: page.rows() == [] and page.count("profiles") == 3)
    assert not sandbox.record.requests
    assert ask(sandbox) == 200
    wait_until(lambda: [row[2] for row in page.rows()] == ["200"])


def test_the_quotas_window_fills_up(page, sandbox):
    """By requests, and by what other apps are said to spend."""
    assert ask(sandbox) == 200
    wait_until(lambda: "store: 1 of 150 used" in page.text("#quotas")[0])
    page.press("Spend quota")
    wait_until(lambda: "store: 11 of 150 used" in page.text("#quotas")[0])
    bar = page.browser.find_element("tag name", "progress")
    assert (bar.get_property("value"), bar.get_property("max")) == (11, 150)


def test_text_from_the_store_is_text(page, sandbox):
    """A path and a query that are markup run nothing and make no element."""
    evil = "<img src=x onerror=document.title='caught'>"
    assert ask(sandbox, path=f"{evil.replace(' ', '%20')}?q=%3Cscript%3E") == 404
    wait_until(lambda: len(page.rows()) == 1)
    assert page.rows()[0][1].endswith(f"GET {evil}?q=<script>")
    assert page.browser.title == "bcshopper sandbox"
    assert page.browser.find_elements("css selector", "main img, main script") == []


def test_the_page_says_when_the_sandbox_has_gone(browser):
    """What stands there is old then; it goes on when there is one again."""
    with Sandbox(profiles=1) as sandbox:
        browser.get(f"{sandbox.url}/_sandbox/")
        page = Page(browser)
        wait_until(lambda: page.count("profiles") == 1)
        port = int(sandbox.url.rpartition(":")[2])
        for _ in range(3):
            ask(sandbox)
        wait_until(lambda: len(page.rows()) == 3)
    wait_until(lambda: "does not answer" in page.text("#said")[0])
    with Sandbox(profiles=2, port=port) as sandbox:
        ask(sandbox)
        wait_until(lambda: page.count("profiles") == 2)
        wait_until(lambda: "answers again" in page.text("#said")[0])
        wait_until(lambda: [row[0] for row in page.rows()] == ["1"])
    browser.get_log("browser")


def test_a_narrow_screen_shows_all_of_it(page, sandbox):
    """At 360 pixels nothing has to be pushed sideways, whatever the paths."""
    ask(sandbox, path="customers?id:in=" + ",".join(map(str, range(1000, 1400))))
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        wait_until(lambda: len(page.rows()) == 1)
        width = page.browser.execute_script("return document.documentElement.scrollWidth")
        assert width == 360
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


CONTRASTS = """
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = getComputedStyle(node).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") return color;
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return dark ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)";
};
const texts = [...document.querySelectorAll("body *")].filter((e) => e.innerText && !e.disabled);
return texts.map((e) => {
  const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
  return [(a + 0.05) / (b + 0.05), e.innerText];
}).sort((x, y) => x[0] - y[0])[0];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_in_light_and_dark(page, sandbox, scheme):
    """At least 4.5 to 1, as WCAG asks, good and bad statuses included."""
    ask(sandbox)
    ask(sandbox, path="nothing")
    wait_until(lambda: len(page.rows()) == 2)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        ratio, text = page.browser.execute_script(CONTRASTS)
        assert ratio >= 4.5, text
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_screen_readers_and_keyboards_find_everything(page):
    """Every control has a name and is reached with Tab; what was done is announced."""
    page.browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    controls = [name for role, name in named if role in {"button", "spinbutton", "progressbar"}]
    assert len(controls) >= 11
    assert all(controls)
    roles = {role for role, _ in named}
    assert {"main", "status", "heading", "table", "columnheader", "group"} <= roles
    reached = page.browser.execute_script(
        "return [...document.querySelectorAll('button, input')].every((e) => e.tabIndex === 0)"
    )
    assert reached
    assert page.browser.execute_script("return document.documentElement.lang") == "en"


def test_the_page_is_one_file():
    """It asks for nothing but the admin API of the sandbox that it came from."""
    html = _PAGE.read_text()
    assert not re.search(r"https?:|//\w+\.|@import|url\(|src=", html)
    assert re.findall(r"<link [^>]*>", html) == ['<link rel="icon" href="data:,">']
