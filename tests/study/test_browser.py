"""The page in Chromium, driven by the keyboard: to the end, after a reload, without a server, on a phone."""

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from keyface.cli.main import main
from keyface.study.answers import Rater, gather
from keyface.study.folder import Study
from keyface.study.serving.server import StudyServer, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

RATINGS = {"stit": ("8", "0"), "dva": ("3", "5"), "unedited": ("9", "0"), "broken": ("1", "2")}
"""Method, or what was made of the source → keys for realism and identity."""

PATIENCE = 20_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


class Tab:
    """A page with what went wrong on it and what it asked for."""

    def __init__(self, page: Page, study: Study) -> None:
        self.page = page
        self.study = study
        self.asked: list[str] = []
        self.wrong: list[str] = []
        plan = json.loads((study.folder / "public" / "plan.json").read_text())
        self.shown = {trial["shown"]: number for number, trial in enumerate(plan["trials"])}
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on(
            "console",
            lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None,
        )

    def begin(self, address: str) -> None:
        """Open the study, and leave its first screen."""
        self.page.goto(address)
        expect(self.page.get_by_role("button", name="Start")).to_be_focused()
        self.key("Enter")

    def key(self, key: str) -> None:
        self.page.keyboard.press(key)

    def trial(self) -> int:
        """The number of the trial that is on the screen."""
        return self.shown[str(self.page.locator("#shown").get_attribute("src"))]

    def rate(self) -> int:
        """Watch to the end and answer, by keys alone; return which trial it was."""
        expect(self.page.locator("#hint")).to_have_text("Rate realism and identity", timeout=PATIENCE)
        number = self.trial()
        trial = self.study.trials[number]
        for key in RATINGS.get(trial.method or trial.made, ("4", "4")):
            self.key(key)
        expect(self.page.get_by_role("button", name="Next")).to_be_focused()
        self.key("Enter")
        return number


@pytest.fixture
def tab(browser: Browser, study: Study) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1000, "height": 900}, accept_downloads=True)
    yield Tab(context.new_page(), study)
    context.close()


def only(raters: dict[str, Rater]) -> Rater:
    (rater,) = raters.values()
    return rater


def expected(study: Study, number: int) -> tuple[int, int]:
    trial = study.trials[number]
    realism, identity = (int(key) or 10 for key in RATINGS[trial.method or trial.made])
    return realism, identity


def assert_all_kept(study: Study, rater: Rater) -> None:
    assert rater.answers.keys() == set(study.booklets[rater.booklet])
    for number, answer in rater.answers.items():
        assert (answer.realism, answer.identity) == expected(study, number)
        assert 0 < answer.seconds < 60


def test_a_rater_reaches_the_end_by_keyboard_also_after_a_reload(tab: Tab, study: Study) -> None:
    page = tab.page
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        tab.begin(server.address)
        expect(page).to_have_title("Glasses & <beards>")
        expect(page.get_by_text("Practice", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Next")).to_be_disabled()
        tab.key("Enter")
        assert study.trials[tab.rate()].made == "practice"
        seen = [tab.rate() for _ in range(3)]
        expect(page.locator("#count")).to_have_text("4 of 8")
        here = tab.trial()
        page.reload()
        expect(page.locator("#count")).to_have_text("4 of 8")
        assert tab.trial() == here
        seen += [tab.rate() for _ in range(5)]
        expect(page.get_by_text("All your answers have arrived")).to_be_visible()
        rater = only(gather([study.answers], study))
        assert tuple(seen) == study.booklets[rater.booklet], "in the booklet's order"
        assert_all_kept(study, rater)
        page.reload()
        expect(page.get_by_text("All your answers have arrived")).to_be_visible()
        assert all(url.startswith(server.address) or url.startswith("blob:") for url in tab.asked)
    assert tab.wrong == []


def test_what_the_server_missed_is_sent_when_it_is_back(tab: Tab, study: Study) -> None:
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        port = server.server_address[1]
        tab.begin(server.address)
        for _ in range(3):
            tab.rate()
        expect(tab.page.locator("#count")).to_have_text("3 of 8")
        # Videos are in the browser's cache no longer than it likes; answers are what must not be lost.
        tab.page.route("**/api/answer", lambda route: route.abort())
        for _ in range(6):
            tab.rate()
        expect(tab.page.get_by_text("the server does not answer")).to_be_visible()
        assert len(only(gather([study.answers], study)).answers) == 2
    tab.page.unroute("**/api/answer")
    with serving(StudyServer(study, "127.0.0.1", port, None)):
        tab.page.get_by_role("button", name="Send again").click()
        expect(tab.page.get_by_text("All your answers have arrived")).to_be_visible()
        assert_all_kept(study, only(gather([study.answers], study)))


def test_without_a_server_for_answers_they_are_downloaded(
    tab: Tab, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The public folder on a server for files alone, as Python has one."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(study.folder / "public"))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        tab.page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        tab.page.get_by_role("button", name="Start").click()
        for _ in range(4):
            tab.rate()
        tab.page.reload()
        for _ in range(5):
            tab.rate()
        expect(tab.page.get_by_text("Please download your answers")).to_be_visible()
        with tab.page.expect_download() as started:
            tab.page.get_by_role("button", name="Download my answers").click()
        assert started.value.suggested_filename.startswith("answers-")
        path = tmp_path / "answers.jsonl"
        started.value.save_as(path)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not study.answers.exists()
    assert_all_kept(study, only(gather([path], study)))
    capsys.readouterr()
    assert main(["study", "report", str(study.folder), str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["method"]: row["overall"]["mean"] for row in found["methods"]} == {"stit": 9, "dva": 4}


def test_an_answer_can_be_changed_and_the_mouse_does_as_well(tab: Tab, study: Study) -> None:
    page = tab.page
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        tab.begin(server.address)
        tab.rate()
        expect(page.locator("#hint")).to_have_text("Rate realism and identity", timeout=PATIENCE)
        number = tab.trial()
        page.get_by_role("radio", name="realism 6 of 10").check()
        page.get_by_role("radio", name="identity 2 of 10").check()
        tab.key("7")  # the focus is in identity
        expect(page.get_by_role("radio", name="identity 7 of 10")).to_be_checked()
        expect(page.get_by_role("button", name="Next")).to_be_focused()
        for _ in ("play again", "identity", "realism"):
            tab.key("Shift+Tab")
        tab.key("ArrowLeft")
        expect(page.get_by_role("radio", name="realism 5 of 10")).to_be_checked()
        tab.key("0")
        expect(page.get_by_role("radio", name="realism 10 of 10")).to_be_checked()
        page.get_by_role("button", name="Next").click()
        expect(page.locator("#count")).to_have_text("2 of 8")
        expect(page.get_by_role("radio", checked=True)).to_have_count(0)
        answer = only(gather([study.answers], study)).answers[number]
        assert (answer.realism, answer.identity) == (10, 7)


def test_a_token_is_taken_from_the_address(tab: Tab, study: Study) -> None:
    with serving(StudyServer(study, "127.0.0.1", 0, "a-token-of-24-letters-aa")) as server:
        tab.begin(server.address)
        assert "token" not in tab.page.url
        tab.rate()
        tab.rate()
        expect(tab.page.locator("#count")).to_have_text("2 of 8")
        assert len(only(gather([study.answers], study)).answers) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_reads_well(browser: Browser, study: Study, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)  # type: ignore[arg-type]
    tab = Tab(context.new_page(), study)
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as server:
        tab.page.goto(server.address)
        for _ in range(2):
            expect(tab.page.locator("button.main:visible")).to_have_count(1)
            assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
            assert tab.page.evaluate(CONTRASTS) == []
            tab.key("Enter")
        expect(tab.page.get_by_role("radio")).to_have_count(20)
        sizes = tab.page.evaluate(
            "[...document.querySelectorAll('.scale label, #trial button')].map((each) => each.offsetHeight)"
        )
        assert min(sizes) >= 40, "large enough for a finger"
        both = tab.page.locator("#source").bounding_box(), tab.page.locator("#shown").bounding_box()
        assert both[0] is not None
        assert both[1] is not None
        assert both[0]["y"] == both[1]["y"], "side by side"
    context.close()
    assert tab.wrong == []


CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [red, green, blue] = colour.map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const each of document.querySelectorAll('main *, header *')) {
    const texts = [...each.childNodes].filter((node) => node.nodeType === 3 && node.textContent.trim());
    if (!texts.length || !each.getClientRects().length || each.closest(':disabled')) continue;
    const pair = [light(rgb(getComputedStyle(each).color).slice(0, 3)), light(ground(each))];
    if ((Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) < 4.5) poor.push(each.outerHTML);
  }
  return poor;
}"""
"""Texts whose contrast to their ground is below 4.5, as WCAG 2.2 (1.4.3) asks; disabled ones are exempt."""
