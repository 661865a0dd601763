"""The page of `keyface dashboard`, read as HTML and, where Chromium is installed, opened in it."""

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from dashboard_runs import MakeRun
from PIL import Image

from keyface.cli.main import main
from keyface.video import VideoReader

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Collects a page's tags, texts, and what it would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "data") and value]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open and self.open[-1] == "style" else f" {data.strip()}"


def test_one_run_is_one_file_that_needs_nothing(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "exp" / "one", experiment="mine/<b>exp</b>", trainer={"max_steps": 4})
    assert main(["dashboard", str(run)]) == 0
    assert "dashboard.html: 1 run, up to 4 steps" in capsys.readouterr().err
    page = Page(run / "dashboard.html")
    assert page.open == []
    assert "script" not in page.tags
    assert "mine/<b>exp</b>/one" in page.text, "names are text and no HTML"
    pictures = [each for each in page.loads if each.startswith("data:image/webp;base64,")]
    videos = [each for each in page.loads if each.startswith("data:video/mp4;base64,")]
    assert len(pictures) + len(videos) == len(page.loads), "nothing else is loaded"
    levels = [
        Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2]))).convert("L").getpixel((8, 8))
        for each in pictures
    ]
    # -0.8 is 25 of 255; edits at steps 0, 2 and 4 are of 0, 0.5 and 1
    assert levels == [pytest.approx(level, abs=4) for level in (25, 127, 191, 255)]
    (tmp_path / "last.mp4").write_bytes(base64.b64decode(videos[0].partition(",")[2]))
    assert VideoReader(tmp_path / "last.mp4").width == 32
    command = "lightning fit -c 'a b.yaml'"
    for said in ("without glasses", "wearing glasses", "step 2", "success 0.5", command):
        assert said in page.text
    titles = ("Edit success", "Identity distance by judge", "Training loss", "Loss by noise level")
    assert all(title in page.text for title in titles)
    # success, distance, judges, loss, noise level; the reconstruction of a category alone; the trade-off
    assert page.tags.count("svg") == 7


def test_runs_are_compared(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "exp" / "one", started="1", model={"lr": 0.001}, trainer={"max_steps": 4})
    make_run(tmp_path / "exp" / "two", started="2", model={"lr": 0.25}, trainer={"max_steps": 4})
    output = tmp_path / "out" / "page.html"
    assert main(["dashboard", str(tmp_path / "exp"), "-o", str(output), "--columns", "2"]) == 0
    page = Page(output)
    table = page.text[: page.text.index("Edits over steps")]
    assert "model.lr" in table
    assert "0.001" in table
    assert "0.25" in table
    assert "trainer.max_steps" not in table, "what is the same is no difference"
    pictures = [each for each in page.loads if each.startswith("data:image")]
    assert len(pictures) == 2 * (1 + 2), "the source, and the first and the last step, of both runs"
    assert page.text.count("exp/two") >= 3, "in the legend, the table and the record"


def test_bad_requests_are_refused_at_once(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    for words, said in (
        ([str(tmp_path / "none")], "none: no such folder"),
        ([str(run / "edits")], "no run in it"),
        ([str(run), "-o", str(tmp_path / "a.pdf")], "write to a .html file"),
        ([str(run), "--columns", "1"], "at least 2"),
        ([str(run), "--project", "a/b"], "add --wandb"),
    ):
        assert main(["dashboard", *words]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    video = next((run / "edits").rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:200])
    assert main(["dashboard", str(run)]) == 1
    assert str(video) in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.html"))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_it_without_an_error(tmp_path: Path, make_run: MakeRun) -> None:
    """No error in the console, also none of the page's own security policy; no sideways scrolling."""
    run = make_run(tmp_path / "exp" / "one")
    assert main(["dashboard", str(run)]) == 0
    page, probe = run / "dashboard.html", tmp_path / "probe.html"
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars", "--window-size=700,900"]
    shot = tmp_path / "shot.png"
    shown = subprocess.run(
        [*words, f"--screenshot={shot}", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert not re.findall(r"CONSOLE.*", shown.stderr)
    with Image.open(shot) as picture:
        colours = picture.convert("RGB").getcolors(2**20)
    assert colours is not None
    assert len(colours) > 100, "an empty page has one"
    # The page inside a frame of a page that may run a script, which tells how wide it is.
    content = page.read_text().replace("'", "&#39;")
    probe.write_text(
        f"<iframe id=f style='width:700px;height:900px' srcdoc='{content}'>"
        "</iframe><p id=said></p><script>onload = () => said.textContent = 'wide ' + "
        "f.contentDocument.documentElement.scrollWidth + ' charts ' + "
        "f.contentDocument.querySelectorAll('.chart svg .line').length</script>"
    )
    told = subprocess.run([*words, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r"wide (\d+) charts (\d+)", told.stdout)
    assert found is not None
    assert int(found[1]) <= 700
    assert int(found[2]) >= 7
