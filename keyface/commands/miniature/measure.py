"""`keyface miniature measure`: the figures of the miniature's networks on held-out people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def measure(
    faces: int = 500,
    prompts: int = 200,
    clips: int = 200,
    guidance_scale: float = 3.0,
    json: bool = False,
    output: Path | None = None,
    sheet: Path | None = None,
) -> None:
    """Measure the networks on held-out people: round trips, recognition, captions, prompt control.

    Args:
        faces: Pictures for autoencoder, recognizers and classifier, four of each person.
        prompts: Faces sampled from captions for the prompt control.
        clips: Clips whose captions are compared with the truth.
        guidance_scale: Classifier-free guidance of the samples.
        json: Print the figures as JSON, and nothing else on stdout.
        output: Also write the figures, as JSON, to this file.
        sheet: Also write the first 64 samples here as a contact sheet.
    """
    from keyface.commands.console import print_json, write_json
    from keyface.miniature import measure as m
    from keyface.miniature import zoo
    from keyface.miniature.population import captions, world
    from keyface.progress import say

    people = m.held_out_faces(faces // 4, 4)
    images, landmarks = m.render_all(people)
    truth = world.true_labels(people)
    backbone = zoo.backbone()
    classifier = zoo.attribute_classifier()
    networks = {"identity_network": zoo.identity_network(), **zoo.recognizers()}
    control, samples = m.prompt_control(backbone, classifier, prompts, guidance_scale)
    report: dict[str, Any] = {
        "n": len(people),
        "autoencoder": m.autoencoder_psnr(backbone.vae, images),
        "inversion": m.inversion_psnr(backbone, images[:64], captions.write_captions(people[:64])),
        "identity_auc": {
            name: m.recognition_auc(network, images, landmarks, people.identity.ids)
            for name, network in networks.items()
        },
        "classifier": {
            name: score
            for name, score in m.classifier_accuracy(classifier, images, truth).items()
            if min(score["positives"], score["negatives"]) >= 20
        },
        "prompt_control": control,
        "captions": m.caption_recall(zoo.caption_clip, clips),
    }
    if json:
        print_json(_without_nan(report))
    else:
        print_figures(report)
    if output is not None:
        write_json(output, _without_nan(report))
        say(f"written: {output}")
    if sheet is not None:
        from keyface import pictures

        rows = [(f"{start + 1}-{start + len(part)}", part) for start, part in _rows(samples[:64], 8)]
        pictures.save_png(pictures.draw_sheet(rows), sheet)
        say(f"written: {sheet}")


def _rows(images: Tensor, columns: int) -> list[tuple[int, Tensor]]:
    return [(start, images[start : start + columns]) for start in range(0, len(images), columns)]


def _without_nan(content: Any) -> Any:
    """Return figures with None, which JSON has, for those that too few pictures left unknown."""
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    return None if isinstance(content, float) and math.isnan(content) else content


def print_figures(report: dict[str, Any]) -> None:
    """Print a line for each figure."""
    print(f"held-out pictures: {report['n']}")
    for section in ("autoencoder", "inversion", "identity_auc"):
        for name, value in report[section].items():
            print(f"{section:16s} {name:22s} {value:8.3f}")
    for section in ("classifier", "prompt_control"):
        for name, score in report[section].items():
            counts = f"n = {score['positives']} + {score['negatives']}"
            print(f"{section:16s} {name:22s} {score['accuracy']:8.3f}   {counts}")
    for phrase, score in report["captions"].items():
        print(f"{'captions':16s} {phrase:22s} {score['recall']:8.3f}   n = {score['clips']}")
