"""The page in a real browser: it shows the choice, and nothing else happens."""

import html
import json
import re
import shutil
import urllib.parse

import pytest

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"no {' and no '.join(MISSING)} here (Debian: chromium, chromium-driver)",
)
DESKTOP, PHONE = (1280, 900), (375, 700)


@pytest.fixture(scope="module")
def driver():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
    service.stop()


class Page:
    """The page, as a user operates it."""

    def __init__(self, driver, path):
        self.driver, self.url = driver, path.as_uri()

    def open(self, size=DESKTOP, dark=False, **chosen):
        """Load the page anew, by a link with a choice."""
        run = self.driver.execute_cdp_cmd
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1}
        run("Emulation.setDeviceMetricsOverride", screen | {"mobile": size == PHONE})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        run("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}#{urllib.parse.urlencode(chosen)}")

    def js(self, code, *args):
        return self.driver.execute_script(code, *args)

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector):
        return [element.text for element in self.find(selector)]

    def choose(self, name, value):
        """Choose an option of a select."""
        (option,) = self.find(f'#{name} option[value="{value}"]')
        option.click()

    def chosen(self):
        """Return the choice in the address."""
        query = urllib.parse.urlsplit(self.driver.current_url).fragment
        return dict(urllib.parse.parse_qsl(query))


@pytest.fixture(scope="module")
def page(driver, page_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_text, encoding="utf-8")
    return Page(driver, path)


def test_it_opens_at_the_last_evaluations_first_failure(page):
    """The greedy episode of one/2 fails; of one/1 only a sampled one does."""
    page.open()
    assert page.texts("#view h3") == ["one/2"]
    assert page.texts(".sample h4") == ["Greedy: exited_unsolved"]
    page.open(run="second", step="rlvr_2")
    assert page.texts("#view h3") == ["one/1"]
    assert page.texts(".sample h4") == ["Sample 1: exited_unsolved"]


def test_a_count_of_failures_opens_their_list(page):
    page.open()
    page.find('#failures details[open] a[href*="kind=sampled"]')[0].click()
    assert page.texts("#list h3") == [
        "3 failures, sampled: evaluation after SFT, ended as exited_unsolved"
    ]
    assert page.texts("#list tbody th") == ["one/1", "one/2", "one/2"]
    assert page.texts("#view h3") == ["one/1"]
    assert page.texts(".sample h4") == ["Sample 1: exited_unsolved"]
    page.find("#list tbody a")[2].click()
    assert page.texts("#view h3") == ["one/2"]
    assert page.texts(".sample h4") == ["Sample 1: exited_unsolved"]
    assert page.texts("#list [aria-current] td")[0] == "1"
    assert page.chosen()["by"] == "status"
    page.js("history.back()")
    page.js("return new Promise(done => setTimeout(done, 100))")
    assert page.texts("#view h3") == ["one/1"]
    page.find("#list button")[0].click()
    assert page.texts("#list h3") == [] and "by" not in page.chosen()
    assert page.texts("#view h3") == ["one/1"]


def test_values_are_read_off_by_pointer_and_by_keyboard(page):
    page.open()
    box = page.find(".plot [data-values]")[0]
    page.js("arguments[0].scrollIntoView()", box)
    chains = pytest.importorskip("selenium.webdriver").ActionChains(page.driver)
    chains.move_to_element(box).perform()
    said = page.texts(".plot output")[0]
    step = int(re.match(r"Step (\d+): first <b> ", said)[1])
    assert 30 < step < 55 and "second " in said and len(page.find(".rule")) == 1
    page.find("h1")[0].click()
    box.send_keys("\ue010")  # End
    assert page.texts(".plot output")[0].startswith("Step 90: first <b> 0.03333 (mean")
    box.send_keys("\ue012")  # the left arrow
    assert page.texts(".plot output")[0].startswith("Step 89: ")


def test_step_group_sample_and_status_are_picked(page):
    page.open(step="eval_sft", group="one/1")
    assert page.texts(".sample h4")[0] == "Greedy: solved"
    page.choose("run", "second")
    page.choose("step", "rlvr_2")
    statuses = ["Sample 0: solved", "Sample 1: exited_unsolved"]
    assert page.texts(".sample h4") == statuses
    boxes = [element.rect for element in page.find(".sample")]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    page.choose("sample", "1")
    assert page.texts(".sample h4") == statuses[1:]
    page.choose("status", "solved")
    assert page.texts(".sample h4") == statuses[:1]
    assert page.texts("#group option") == ["one/1: 1 solved, 1 exited_unsolved"]
    page.choose("status", "")
    page.choose("group", "one/2")
    assert page.texts("#view h3") == ["one/2"]
    assert "had no signal" in page.texts(".sample")[0]
    there = {"run": "second", "step": "rlvr_2", "group": "one/2"}
    assert page.chosen() == there


def test_a_turn_is_read_line_by_line(page, rollouts):
    page.open(run="second", step="rlvr_2", group="one/1", sample="0")
    turn = page.texts(".turn")[0]
    assert "### REPW 2 >>>- 1 >>>+ 1" in turn and "all tests pass" in turn
    for told in ("reward +1.00", "return +1.00", "advantage +1.50", "log-prob \u2212"):
        assert told in turn.replace("\n", " ")
    signs = page.js(
        "return [...document.querySelectorAll('.turn:first-child .row')].map(r =>"
        " [...r.querySelectorAll('.sign, .number')].map(s => s.textContent).join(''))"
    )
    assert signs == [" 1", "-2", "+2"]
    marks = page.texts(".turn:first-child mark")
    assert marks == ["-", "+"]
    assert not page.find(".token")
    page.find("#tokens")[0].click()
    count = len([t for t in rollouts[0].episode.turns if t == 0])
    assert len(page.find(".turn:first-child .token")) == count
    assert page.texts(".turn:first-child .token small")[:2] == [
        "\u22120.13",
        "\u22120.25",
    ]
    assert page.chosen()["tokens"] == "1"


def test_a_program_is_text_whatever_it_holds(page, rollouts):
    page.open(step="rlvr_1")
    line = rollouts[0].bug.faulty_code.split("\n")[1]
    shown = line.replace("\u2028", "\\u{2028}").replace("\u202e", "\\u{202e}")
    texts = page.js(
        "return [...document.querySelectorAll('.row > :last-child')]"
        ".map(e => e.textContent.trimEnd())"
    )
    assert "</script>" in shown and shown in texts
    assert not page.find("#view img") and "</script>" in page.texts("#view p")[0]


def test_groups_are_walked_through_by_keyboard(page):
    page.open(step="rlvr_1", group="one/1")
    page.find("#next")[0].send_keys("\n")
    assert page.texts("#view h3") == ["one/2"]
    assert not page.find("#next")[0].is_enabled()
    page.find("#previous")[0].send_keys(" ")
    assert page.texts("#view h3") == ["one/1"]
    page.find("#step")[0].send_keys("RLVR, step 2")
    assert page.chosen()["step"] == "rlvr_2"
    outline = page.js("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_what_the_page_does_not_hold_is_said(page):
    page.open(step="rlvr_7", group="one/2")
    assert "Not on this page: step rlvr_7" in page.texts("#said")[0]
    assert page.texts("#view h3") == ["one/2"]
    page.open(step="rlvr_1", status="truncated")
    assert "No episode of this step ended as truncated." in page.texts("#view")[0]
    page.choose("status", "")
    assert page.texts("#said") == [""] and page.texts("#view h3") == ["one/1"]
    # A sample hidden by another choice gives no message.
    page.open(step="rlvr_1", group="one/2")
    page.choose("status", "solved")
    assert page.texts("#said") == [""] and page.texts("#view h3") == ["one/1"]


def test_a_link_within_the_page_keeps_what_is_chosen(page):
    page.open(step="rlvr_2", group="one/2")
    page.find('nav a[href="#curves"]')[0].click()
    assert page.texts("#view h3") == ["one/2"]
    page.js("location.hash = 'step=rlvr_1&group=one%2F1'")
    page.js("return new Promise(done => setTimeout(done, 50))")
    assert page.texts("#view h3") == ["one/1"]


def test_it_works_in_a_notebooks_frame(page, driver, page_text, tmp_path):
    host = tmp_path / "host.html"
    frame = f'<iframe srcdoc="{html.escape(page_text)}" width="900" height="600">'
    host.write_text(f"<title>host</title>{frame}</iframe>", encoding="utf-8")
    driver.get_log("browser")
    driver.get(host.as_uri())
    driver.switch_to.frame(0)
    try:
        page.find('nav a[href="#episodes"]')[0].click()
        assert page.js("return document.getElementById('view') && scrollY") > 0
        page.choose("group", "one/2")
        assert page.texts("#view h3") == ["one/2"]
    finally:
        driver.switch_to.default_content()
    assert driver.get_log("browser") == []


def test_numbers_that_are_none_are_said(page, driver, page_text, tmp_path):
    path = tmp_path / "broken.html"
    broken = re.sub(r'"log_probs":\[[^,\]]*', '"log_probs":[null', page_text)
    assert broken != page_text
    path.write_text(broken, encoding="utf-8")
    shown = Page(driver, path)
    shown.open(step="rlvr_1", tokens="1")
    assert shown.texts(".token small")[0] == "n/a"
    assert "n/a" in shown.texts(".turn")[0]


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_in_light_and_dark(page, dark):
    page.open(PHONE, dark, step="eval_sft", tokens="1")
    page.js("document.getElementById('shown').open = true")
    assert page.js("return document.documentElement.scrollWidth") <= PHONE[0]
    wide = page.js(
        "return [...document.querySelectorAll('body *')].filter(e =>"
        " !e.closest('pre, svg, thead') && e.getBoundingClientRect().right > innerWidth"
        " + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    paper, ink = page.js(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    lines = page.js(
        "return getComputedStyle(document.querySelector('.plot text')).fill"
    )
    assert lines == ink != paper
    level = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) / 3
    assert (level < 60) == dark


def test_every_control_has_a_label(page):
    page.open()
    unnamed = page.js(
        "return [...document.querySelectorAll('select, input, button')].filter(e =>"
        " !(e.labels?.[0]?.textContent || e.textContent).trim()).map(e => e.id)"
    )
    assert unnamed == []
    ids = page.js("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_nothing_is_fetched_and_nothing_goes_wrong(page):
    page.driver.get_log("performance")
    page.driver.get_log("browser")
    page.open(step="rlvr_2", tokens="1")
    events = [
        json.loads(e["message"])["message"] for e in page.driver.get_log("performance")
    ]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.startswith(page.url) for url in asked)
    assert all(url.startswith((page.url, "data:", "about:")) for url in asked), asked
    assert page.driver.get_log("browser") == []
