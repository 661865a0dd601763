"""The table of edits: texts of users stay texts."""

from keyface.studio.jobs import Job
from keyface.studio.table import label_of, table_of


def job(**more: object) -> Job:
    return Job("0" * 12, "a/clip.mp4", {"edits": ["glasses", "beard"]}, 1.0, **more)  # type: ignore[arg-type]


def test_texts_are_escaped() -> None:
    bad = Job("0" * 12, "a/<i>.mp4", {"prompt": "<script>alert(1)</script>"}, 1.0, "failed", "<b>no</b>")
    shown = table_of([bad])
    for tag in ("<script", "<i>", "<b>"):
        assert tag not in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_the_newest_stands_first_with_its_number() -> None:
    shown = table_of([job(state="done"), job(state="running", stage="invert", fraction=0.255)])
    assert shown.index('<th scope="row">2</th>') < shown.index('<th scope="row">1</th>')
    assert 'aria-valuenow="26"' in shown  # round half to even: 25.5 is 26
    assert "running: invert" in shown
    assert 'aria-valuenow="100"' in shown
    assert "2 edits, made one at a time</caption>" in shown
    assert label_of(1, job(state="stopped")) == "1: glasses, beard in clip.mp4, stopped"


def test_many_edits_do_not_make_a_long_page() -> None:
    shown = table_of([job() for _ in range(35)])
    assert shown.count('scope="row"') == 30
    assert "35 edits, made one at a time; the newest 30 are shown" in shown
    assert "No edits yet" in table_of([])
