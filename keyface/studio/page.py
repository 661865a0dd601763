"""The page: Gradio's components, and what happens when they are used."""

from __future__ import annotations

from typing import Any

import gradio as gr

from keyface.plugins import edits
from keyface.studio.api import add_api, safely
from keyface.studio.service import Studio
from keyface.studio.table import label_of, table_of

HEAD = """# keyface studio

Edit a face in a clip while the person stays the same person. What is written is marked as synthetic."""
EVERYBODY = ("everybody", "all")
SHOWN_SECONDS = 1.0
"""Between two looks of the page at the queue."""

_QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build_page(studio: Studio) -> Any:
    """Return the page with its programming interface, not served yet."""
    with gr.Blocks(title="keyface studio", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(HEAD, elem_id="head")
        add_api(studio)  # first, so that the endpoints have their names
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                clip, person = _clip_step(studio)
                asked = _edit_step(clip, person)
            with gr.Column(min_width=320, elem_id="look"):
                start = _preview_step(studio, asked)
        chosen = gr.State("")
        _queue_step(studio, asked, start, chosen)
    return page


def _clip_step(studio: Studio) -> tuple[Any, Any]:
    """Add the clip and the people in it."""
    gr.Markdown("## 1. A clip, and who", elem_classes="step")
    clip = gr.Video(
        label="Clip: drop a file, or press to choose one",
        sources=["upload"],
        include_audio=True,
        height=280,
        elem_id="clip",
        buttons=[],
    )
    built_in = gr.Button("Take the built-in clip", size="sm")
    gallery = gr.Gallery(
        label="People found; press one to choose",
        columns=4,
        fit_columns=False,
        height=170,
        allow_preview=False,
        object_fit="cover",
        visible=False,
        buttons=[],
        elem_id="people",
        interactive=False,
    )
    person = gr.Radio([("person 1", "1")], value="1", label="Edit", visible=False, elem_id="person")
    numbers = gr.State([])

    def look(path: str | None) -> list[Any]:
        if path is None:
            return [
                gr.Gallery([], visible=False),
                gr.Radio([("person 1", "1")], value="1", visible=False),
                [],
            ]
        found = studio.people(path)
        choices = [(f"person {each.number}, {each.said}", str(each.number)) for each in found]
        if len(found) > 1:
            choices.append(EVERYBODY)
        pictures = [(str(each.picture), f"person {each.number}") for each in found]
        return [
            gr.Gallery(pictures, visible=True),
            gr.Radio(choices, value=choices[0][1], visible=True),
            [value for _, value in choices],
        ]

    def press(known: list[str], event: gr.SelectData) -> str:
        return str(known[event.index])

    # Annotations of this module are texts, which Gradio must resolve to see who wants the event.
    press.__annotations__["event"] = gr.SelectData
    built_in.click(safely(lambda: str(studio.built_in())), None, clip, api_visibility="private")
    clip.change(safely(look), clip, [gallery, person, numbers], api_visibility="private")
    gallery.select(press, numbers, person, **_QUIET)
    return clip, person


def _edit_step(clip: Any, person: Any) -> list[Any]:
    """Add what is to change; return all that an edit is asked for with, as `asked_for` takes it."""
    gr.Markdown("## 2. What to change", elem_classes="step")
    names = gr.CheckboxGroup([each.name for each in edits], label="Categories", elem_id="categories")
    prompt = gr.Textbox(
        label="Or in words: what the clip shall show",
        placeholder="a photo of an old man with glasses",
        lines=1,
        max_lines=3,
        elem_id="prompt",
    )
    with gr.Accordion("Strength and more", open=False):
        own = gr.Checkbox(True, label="As the weights and the categories ask", elem_id="automatic")
        with gr.Group(visible=False) as amounts:
            strength = gr.Slider(0.05, 1.0, 0.8, step=0.05, label="Strength: less changes less")
            guidance = gr.Slider(1.0, 15.0, 5.0, step=0.5, label="Guidance: more follows the words more")
            steps = gr.Slider(2, 100, 20, step=1, label="Steps: more is slower and finer", elem_id="steps")
        source = gr.Textbox(label="What the clip shows now, if you want to say it", lines=1)
        seed = gr.Number(0, label="Seed: which frames become keyframes", precision=0, minimum=0)
    own.change(lambda given: gr.Group(visible=not given), own, amounts, **_QUIET)
    return [clip, names, prompt, source, person, own, strength, guidance, steps, seed]


def asked_for(*values: Any) -> tuple[Any, dict[str, Any]]:
    """Return the clip and the options from the values of the components of `_edit_step`."""
    clip, names, prompt, source, person, own, strength, guidance, steps, seed = values
    options = {"edits": list(names or []), "prompt": prompt, "source": source, "person": person, "seed": seed}
    if not own:
        options |= {"strength": strength, "guidance": guidance, "steps": steps}
    return clip, options


def _comparison(name: str) -> Any:
    """Add a picture before and after, with a line between them that the keyboard can move, too."""
    slider = gr.ImageSlider(
        label="Before (left) and after (right)", interactive=False, max_height=420, buttons=[], elem_id=name
    )
    line = gr.Slider(0, 100, 50, step=5, label="Place of the line, in percent", elem_id=f"{name}_line")
    line.input(lambda place: gr.ImageSlider(slider_position=place), line, slider, **_QUIET)
    return slider


def _preview_step(studio: Studio, asked: list[Any]) -> Any:
    """Add the preview; return the button that starts the edit."""
    gr.Markdown("## 3. Look, then start", elem_classes="step")
    with gr.Row():
        button = gr.Button("Preview three keyframes", elem_id="preview", min_width=140)
        start = gr.Button("Start the edit", variant="primary", elem_id="start", min_width=140)
    slider = _comparison("before_after")
    frame = gr.Radio([], label="Keyframe", visible=False, elem_id="keyframe")
    doubts = gr.Textbox(label="Warning", visible=False, interactive=False, elem_id="doubts")
    pairs = gr.State([])

    def preview(*values: Any) -> list[Any]:
        clip, options = asked_for(*values)
        made, lines = studio.preview(clip, **options)
        choices = [(f"at {pair.seconds:.2f} s", number) for number, pair in enumerate(made)]
        known = [(str(pair.before), str(pair.after)) for pair in made]
        warning = gr.Textbox("\n".join(lines), visible=bool(lines))
        return [known[0], gr.Radio(choices, value=0, visible=len(made) > 1), warning, known]

    button.click(safely(preview), asked, [slider, frame, doubts, pairs], api_visibility="private")
    frame.input(lambda number, known: known[number], [frame, pairs], slider, **_QUIET)
    return start


def _queue_step(studio: Studio, asked: list[Any], start: Any, chosen: Any) -> None:
    """Add the queue, and the result of the edit that is chosen there."""
    gr.Markdown("## 4. Edits", elem_classes="step")
    # HTML, whose texts are escaped; Gradio's own HTML needs scripts that the page's policy refuses.
    table = gr.Markdown(
        table_of(studio.queue.jobs()), sanitize_html=False, latex_delimiters=[], elem_id="edits"
    )
    with gr.Row(elem_id="controls"):
        pick = gr.Dropdown(
            [], label="Chosen edit", scale=3, min_width=260, elem_id="chosen", filterable=False
        )
        stop = gr.Button("Stop", interactive=False, min_width=90, elem_id="stop")
        go_on = gr.Button("Go on", interactive=False, min_width=90, elem_id="go_on")
        away = gr.Button("Remove", variant="stop", interactive=False, min_width=90, elem_id="remove")
    with gr.Row(visible=False, equal_height=False) as result:
        with gr.Column(min_width=320):
            video = gr.Video(label="Edited clip", interactive=False, height=320, buttons=[], elem_id="result")
            files = gr.Files(label="Download: video, mask, record", interactive=False, elem_id="files")
        with gr.Column(min_width=320):
            both = _comparison("compare")
            share = gr.Slider(0, 100, 50, step=1, label="Where in the clip, in percent", elem_id="where")
    command = gr.Textbox(
        label="The same on the command line, where a stopped edit goes on, too",
        interactive=False,
        visible=False,
        buttons=["copy"],
        elem_id="command",
    )
    seen = gr.State(())
    outputs = [table, pick, chosen, seen, stop, go_on, away, result, video, files, both, command]

    def look(key: str, before: tuple[Any, ...], where: float) -> list[Any]:
        """Show the queue; what did not change is left as it is, so that it keeps the focus."""
        jobs = studio.queue.jobs()
        by_id = {job.id: job for job in jobs}
        if key not in by_id:
            key = jobs[-1].id if jobs else ""
        now = (key, tuple((job.id, job.state) for job in jobs))
        shown = table_of(jobs)
        if now == before:
            return [shown, *[gr.skip()] * (len(outputs) - 1)]
        job = by_id.get(key)
        # Whoever has the folder may have removed its files.
        done = job is not None and job.state == "done" and studio.is_whole(job)
        video_, pair, got = None, None, None
        if job is not None and done:
            video_, *_ = got = [str(path) for path in studio.result(key)]
            pair = studio.compare(key, where / 100)
        return [
            shown,
            gr.Dropdown(
                [(label_of(n, each), each.id) for n, each in enumerate(jobs, start=1)][::-1],
                value=key or None,
            ),
            key,
            now,
            gr.Button(interactive=job is not None and job.state in ("waiting", "running")),
            gr.Button(interactive=job is not None and job.state in ("stopped", "failed")),
            gr.Button(interactive=job is not None and job.state != "running"),
            gr.Row(visible=done),
            video_,
            got,
            None if pair is None else (str(pair.before), str(pair.after)),
            gr.Textbox("" if job is None else studio.command(job), visible=job is not None),
        ]

    def begin(*values: Any) -> str:
        clip, options = asked_for(*values)
        return studio.edit(clip, **options).id

    def frame(key: str, where: float) -> tuple[str, str]:
        pair = studio.compare(key, where / 100)
        return str(pair.before), str(pair.after)

    looking = {"fn": safely(look), "inputs": [chosen, seen, share], "outputs": outputs, **_QUIET}
    gr.on([start.click], safely(begin), asked, chosen, **_QUIET).success(**looking)
    pick.input(lambda key: key, pick, chosen, **_QUIET).then(**looking)
    stop.click(safely(lambda key: studio.queue.stop(key) and None), chosen, None, **_QUIET).then(**looking)
    go_on.click(safely(lambda key: studio.queue.resume(key) and None), chosen, None, **_QUIET).then(**looking)
    away.click(safely(studio.queue.remove), chosen, None, **_QUIET).then(**looking)
    share.release(safely(frame), [chosen, share], both, **_QUIET)
    gr.Timer(SHOWN_SECONDS).tick(**looking)
