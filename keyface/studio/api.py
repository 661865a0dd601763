"""What other programs call: named endpoints for Gradio's own client, and for HTTP."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from keyface.plugins import edits as installed
from keyface.studio.queue import told
from keyface.studio.service import Studio

TOGETHER = 8
"""Calls at a time; what they ask for is computed one at a time."""


def safely(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose errors for users become messages on the page, or of the client."""

    @wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except (ValueError, LookupError, FileNotFoundError) as error:
            raise gr.Error(told(error), print_exception=False) from error

    return call


def add_api(studio: Studio) -> None:
    """Add the endpoints `edit`, `status`, `list`, `cancel`, `resume`, `remove` and `result` to a page."""

    def edit(
        clip: str | None,
        edits: list[str],
        prompt: str,
        source: str,
        person: str,
        strength: float | None = None,
        guidance: float | None = None,
        steps: float | None = None,
        seed: float | None = None,
    ) -> dict[str, Any]:
        """Queue an edit."""
        made = studio.edit(
            clip,
            edits=list(edits or []),
            prompt=prompt,
            source=source,
            person=person,
            strength=strength,
            guidance=guidance,
            steps=steps,
            seed=seed,
        )
        return made.facts()

    def result(job: str) -> list[str]:
        """Return the video, the mask and the record."""
        return [str(path) for path in studio.result(job)]

    with gr.Row(visible=False):
        clip = gr.Video(label="clip", sources=["upload"], include_audio=True)
        # Any value passes here, and is checked with the rest of what is asked for.
        names = gr.Dropdown(
            [each.name for each in installed],
            value=[],
            multiselect=True,
            allow_custom_value=True,
            label="edits",
        )
        prompt, source = gr.Textbox("", label="prompt"), gr.Textbox("", label="source")
        person, key = gr.Textbox("1", label="person"), gr.Textbox("", label="job")
        numbers = [gr.Number(None, label=name) for name in ("strength", "guidance", "steps", "seed")]
        told_of, all_of = gr.JSON(label="job"), gr.JSON(label="jobs")
        files = [gr.File(label=name) for name in ("video", "mask", "record")]
        button = gr.Button()
    asked = [clip, names, prompt, source, person, *numbers]
    for name, function, inputs, outputs in (
        ("edit", edit, asked, told_of),
        ("status", lambda job: studio.queue.job(job).facts(), key, told_of),
        ("list", lambda: [each.facts() for each in studio.queue.jobs()], None, all_of),
        ("cancel", lambda job: studio.queue.stop(job).facts(), key, told_of),
        ("resume", lambda job: studio.queue.resume(job).facts(), key, told_of),
        ("remove", lambda job: studio.queue.remove(job), key, None),
        ("result", result, key, files),
    ):
        button.click(
            safely(function),
            inputs,
            outputs,
            api_name=name,
            concurrency_limit=TOGETHER,
            trigger_mode="multiple",
        )
