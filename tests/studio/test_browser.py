"""The page in headless Chromium: from a dropped clip to downloads, by mouse and by keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studio_server import Served

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 300_000
"""Milliseconds."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

POOR_CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => {
    const linear = c => c <= 10.3 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map(linear);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] > .99) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (element.closest('button:disabled, script, style, .video-container')) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    const [a, b] = [light(parse(style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""

NAMELESS = """() =>
  [...document.querySelectorAll('button, input, textarea, select, [role=button], [role=slider]')]
  .filter(each => each.checkVisibility() && !(each.labels && each.labels.length) && !each.ariaLabel
    && !each.getAttribute('aria-labelledby') && !each.innerText.trim() && !each.title)
  .map(each => each.outerHTML.slice(0, 160))"""


@pytest.fixture
def page(served: Served, tmp_path: Path) -> Iterator[Any]:
    """Open the page, and see at the end that nothing went wrong and nothing else was called."""
    faults: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        found = browser.new_page(viewport={"width": 1280, "height": 900})
        found.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        # Gradio's own streams are aborted where the page is left or laid out anew.
        found.on("pageerror", lambda error: None if "AbortError" in str(error) else faults.append(str(error)))
        found.on(
            "request",
            lambda asked: (
                None if asked.url.startswith((served.url, "data:", "blob:")) else faults.append(asked.url)
            ),
        )
        found.set_default_timeout(PATIENCE)
        found.goto(served.url)
        found.get_by_role("heading", name="1. A clip").wait_for()
        yield found
        found.screenshot(path=tmp_path / "last.png", full_page=True)
        browser.close()
    assert faults == []


def set_steps(page: Any, steps: int) -> None:
    field = page.locator("#steps input[type=number]")
    field.fill(str(steps))
    field.press("Tab")


def test_upload_pick_preview_edit_stop_go_on_download(
    page: Any, served: Served, two_people: Path, tmp_path: Path
) -> None:
    page.locator("#clip input[type=file]").set_input_files(two_people)
    people = page.locator("#people button.thumbnail-item")
    people.nth(1).wait_for()
    assert people.count() == 2
    people.nth(1).click()
    sync_api.expect(page.get_by_role("radio", name=re.compile("^person 2"))).to_be_checked()
    page.get_by_label("glasses", exact=True).check()
    page.get_by_role("button", name="Strength and more").click()
    page.get_by_label("As the weights and the categories ask").uncheck()
    set_steps(page, 2)
    page.get_by_role("button", name="Preview").click()
    page.locator("#before_after img").nth(1).wait_for()
    pictures = {each.get_attribute("src") for each in page.locator("#before_after img").all()}
    assert len(pictures) == 2
    assert all("/pictures/" in str(each) for each in pictures)

    set_steps(page, 30)
    page.get_by_role("button", name="Start the edit").click()
    page.locator("#edits .state.running").wait_for()
    stop, go_on = page.locator("#stop"), page.locator("#go_on")
    sync_api.expect(go_on).to_be_disabled()
    stop.click()
    page.get_by_text("stopped, can go on").wait_for()
    sync_api.expect(stop).to_be_disabled()
    go_on.click()
    page.locator("#edits .state.done").wait_for()
    page.locator("#files a").nth(2).wait_for()
    (folder,) = [path.parent for path in (served.workspace / "edits").glob("*/edited.json")]
    for number, name in enumerate(("edited.mp4", "mask.mp4", "edited.json")):
        with page.expect_download() as download:
            page.locator("#files a").nth(number).click()
        download.value.save_as(tmp_path / name)
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert f"-o {folder / 'edited.mp4'}" in page.locator("#command textarea").input_value()
    assert page.locator("#compare img").count() == 2
    page.locator("#remove").click()
    page.get_by_text("No edits yet").wait_for()
    assert not folder.exists()


def test_what_is_wrong_is_told(page: Any) -> None:
    page.get_by_role("button", name="Start the edit").click()
    page.get_by_text("there is no clip yet; drop one").wait_for()


def test_the_page_fits_narrow_screens_and_is_readable(page: Any, short_clip: Path, served: Served) -> None:
    page.locator("#clip input[type=file]").set_input_files(short_clip)
    page.locator("#people button.thumbnail-item").first.wait_for()
    assert page.evaluate(POOR_CONTRAST) == []
    assert page.evaluate(NAMELESS) == []
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= 400")
    page.goto(f"{served.url}?__theme=dark")
    page.get_by_role("heading", name="1. A clip").wait_for()
    page.wait_for_function("document.body.classList.contains('dark')")
    assert page.evaluate(POOR_CONTRAST) == []


FOCUSED = "(e => e.labels?.[0]?.innerText || e.ariaLabel || e.innerText || e.tagName)(document.activeElement)"
OUTLINE = "getComputedStyle(document.activeElement.closest('label')).outlineStyle"


def test_everything_can_be_reached_by_keyboard(page: Any) -> None:
    """Tab goes from the clip through categories and buttons to the queue; space presses."""
    reached: list[str] = []
    while "Start the edit" not in reached:
        assert len(reached) < 100, reached
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED).strip())
        if reached[-1] == "glasses":
            page.keyboard.press("Space")
            sync_api.expect(page.get_by_label("glasses", exact=True)).to_be_checked()
            assert page.evaluate(OUTLINE) == "solid"
    wanted = ["Take the built-in clip", "glasses", "Strength and more", "Preview three keyframes"]
    places = [next((n for n, name in enumerate(reached) if name.startswith(each)), None) for each in wanted]
    assert None not in places, reached
    assert places == sorted(places, key=lambda place: place or 0)
