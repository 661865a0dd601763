import dataclasses

import pytest
import torch

from keyface.editing.editor import (
    Composition,
    EditSettings,
    Injection,
    Prompts,
    Propagation,
    TensorFrames,
    VideoEditor,
)
from keyface.editing.strategies import denoising
from keyface.resume.batches import Batches

PROMPTS = Prompts("a face", "a face with glasses")
LATENT = Propagation(mode="latent")
SMALL = EditSettings(steps=4, interval=4, window=2, anchors=1, chunk_size=3, guidance_scale=3.0)


def changed(**changes) -> EditSettings:
    return dataclasses.replace(SMALL, **changes)


@pytest.fixture
def direction(make_unet):
    return make_unet(1)


VARIANTS = {
    "tokens": SMALL,
    "every frame at every step": changed(propagation=Propagation(keyframes_first=0.0)),
    "latent": changed(propagation=LATENT),
    "tokenflow": changed(propagation=Propagation.tokenflow(), injection=Injection.tokenflow()),
    "frame by frame": changed(interval=1, joint_attention=False),
    "residual": changed(injection=Injection(residual_until=0.5)),
    "keys, values and residual": changed(injection=Injection(mode="kv", until=1.0, residual_until=1.0)),
    "second order": changed(solver="dpmpp_2m"),
    "half of the other keyframes": changed(joint_stride=2, window=3),
    "others inverted by halves": changed(propagation=Propagation(invert_others=2)),
    "output": changed(injection=Injection(mode="output", layers="attn1")),
    "unguided and weak": changed(guidance_scale=1.0, strength=0.5, propagation=LATENT),
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_frame_comes_out_alike_for_every_chunk_size(backbone, direction, frames, settings):
    results = []
    for size in (3, 16):
        editor = VideoEditor(backbone, None, direction, dataclasses.replace(settings, chunk_size=size))
        edited, report = editor.edit_frames(frames, PROMPTS)
        assert edited.shape == frames.shape
        assert edited.isfinite().all()
        assert edited.abs().max() <= 1.0
        assert report.frames == len(frames)
        assert report.reconstruction_psnr <= report.vae_psnr + 1.0
        assert list(report.seconds) == ["encode", "invert", "reconstruct", "edit", "decode"]
        results.append(edited)
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("mode", ["tokens", "latent"])
def test_short_clips(backbone, direction, frames, mode, length):
    editor = VideoEditor(backbone, None, direction, changed(propagation=Propagation(mode=mode)))
    edited, report = editor.edit_frames(frames[:length], PROMPTS)
    assert edited.shape[0] == length
    assert len(report.keyframes) == -(-length // 4)


def test_same_seed_same_frames_other_seed_other_keyframes(backbone, direction, frames):
    first, report = VideoEditor(backbone, None, direction, SMALL).edit_frames(frames, PROMPTS)
    again, _ = VideoEditor(backbone, None, direction, SMALL).edit_frames(frames, PROMPTS)
    assert torch.equal(first, again)
    _, other = VideoEditor(backbone, None, direction, changed(seed=1)).edit_frames(frames, PROMPTS)
    assert report.keyframes != other.keyframes


def test_nothing_to_edit_keeps_the_clip(backbone, frames):
    """One network, one caption, no guidance: keyframes are reconstructed, `latent` adds a zero edit."""
    settings = changed(
        guidance_scale=1.0, joint_attention=False, propagation=LATENT, injection=Injection(enabled=False)
    )
    same = Prompts("a face", "a face")
    edited, _ = VideoEditor(backbone, settings=settings).edit_frames(frames, same)
    assert torch.equal(edited, frames)
    decoded = dataclasses.replace(settings, composition=Composition(mode="off"))
    edited, _ = VideoEditor(backbone, settings=decoded).edit_frames(frames, same)
    with torch.no_grad():
        kept = backbone.decode_latents(backbone.encode_images(frames)).clamp(-1, 1)
    torch.testing.assert_close(edited, kept, rtol=1e-3, atol=1e-3)


def test_identical_frames_are_edited_alike(backbone, direction, frames):
    """Propagated frames equal the keyframes where the clip stands still."""
    still = frames[:1].expand(6, -1, -1, -1)
    for propagation in (Propagation(), LATENT):
        settings = changed(propagation=propagation, joint_attention=False, injection=Injection(enabled=False))
        edited, _ = VideoEditor(backbone, None, direction, settings).edit_frames(still, PROMPTS)
        torch.testing.assert_close(edited, edited[:1].expand_as(edited), rtol=1e-2, atol=1e-2)


def test_windows_equal_full_joint_attention_while_they_hold_all(backbone, direction, frames):
    results = [
        VideoEditor(backbone, None, direction, changed(window=w, anchors=a)).edit_frames(frames, PROMPTS)[0]
        for w, a in ((3, 0), (2, 1), (1, 1))
    ]
    torch.testing.assert_close(results[0], results[1])
    assert (results[0] - results[2]).abs().max() > 1e-4


class Counter:
    """Counts the latents that a U-Net has seen."""

    def __init__(self, unet):
        self.seen = 0
        self.handle = unet.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        self.seen += len(inputs[0])


def test_base_inverts_unless_identity_is_told_to(backbone, make_unet, frames):
    """ε1 sees only keyframes, in the first half of the steps; by its own inversion it sees every frame."""
    base, identity = Counter(backbone.unet), make_unet(2)
    counter = Counter(identity)
    by_base, _ = VideoEditor(backbone, identity, None, SMALL).edit_frames(frames, PROMPTS)
    assert counter.seen == 3 * SMALL.steps // 2
    assert base.seen > 10 * SMALL.steps
    by_itself, _ = VideoEditor(backbone, identity, None, changed(inversion="identity")).edit_frames(
        frames, PROMPTS
    )
    assert counter.seen > 10 * SMALL.steps
    assert not torch.equal(by_base, by_itself)


@pytest.mark.parametrize(
    ("propagation", "others_inverted", "others_edited"),
    [(Propagation(), 6 + 3, 6), (Propagation(keyframes_first=0.0), 10 + 3, 10), (LATENT, 1, 0)],
    ids=["tokens", "every frame at every step", "latent"],
)
def test_forward_counts_are_those_of_the_docstring(
    backbone, make_unet, frames, propagation, others_inverted, others_edited
):
    identity, direction = make_unet(), make_unet(1)
    settings = changed(steps=10, propagation=propagation, inversion="identity")
    first, second = Counter(identity), Counter(direction)
    VideoEditor(backbone, identity, direction, settings).edit_frames(frames, PROMPTS)
    keyframes, others, steps, reconstruction_and_injection = 3, 7, 10, 10 + 5
    matched_apart = 1 if propagation is LATENT else 0
    on_keyframes = keyframes * (steps + 3 + matched_apart + reconstruction_and_injection)
    assert first.seen == on_keyframes + others * others_inverted
    assert second.seen == 2 * (keyframes * steps + others * others_edited)


def test_only_neighbouring_keyframes_are_remembered(backbone, direction, frames, monkeypatch):
    most = 0

    class Watched(denoising.KeyframeTokens):
        def add(self, keyframes, outputs):
            nonlocal most
            super().add(keyframes, outputs)
            most = max(most, len(self.keyframes))

    monkeypatch.setattr(denoising, "KeyframeTokens", Watched)
    settings = changed(interval=2, window=1, anchors=0, steps=2)
    long = torch.cat([frames, frames.flip(0)])
    VideoEditor(backbone, None, direction, settings).edit_frames(long, PROMPTS)
    assert most == 2


def test_reconstructions_progress_and_temporary_files(backbone, direction, frames, tmp_path):
    for settings in (SMALL, changed(propagation=LATENT)):
        edited, kept, seen = [], [], {}

        def progress(stage, done, total, seen=seen):
            assert list(tmp_path.iterdir())
            seen[stage] = (done, total)

        VideoEditor(backbone, None, direction, settings).edit(
            TensorFrames(frames),
            PROMPTS,
            edited.append,
            reconstruction_sink=kept.append,
            progress=progress,
            temporary=tmp_path,
        )
        assert torch.cat(kept).shape == torch.cat(edited).shape == frames.shape
        assert all(done == total for done, total in seen.values())
        assert list(seen) == ["encode", "invert", "reconstruct", "edit", "decode"]
        assert not list(tmp_path.iterdir())


def test_networks_are_left_as_they_were(backbone, make_unet, frames):
    direction = make_unet(1).train()
    before = {name: id(p) for name, p in direction.attn_processors.items()}
    VideoEditor(backbone, None, direction, SMALL).edit_frames(frames[:2], PROMPTS)
    assert direction.training
    assert {name: id(p) for name, p in direction.attn_processors.items()} == before


def test_temporary_files_are_removed_after_an_error(backbone, frames, tmp_path):
    class Short(TensorFrames):
        def __len__(self):
            return 12

    with pytest.raises(ValueError, match="gave 10 frames instead of the 12"):
        VideoEditor(backbone, settings=SMALL).edit(Short(frames), PROMPTS, print, temporary=tmp_path)
    assert not list(tmp_path.iterdir())


def test_odd_sizes_are_refused(backbone):
    with pytest.raises(ValueError, match="multiples of 4"):
        VideoEditor(backbone, settings=SMALL).edit_frames(torch.zeros(2, 3, 18, 16), PROMPTS)


def test_frames_that_are_not_square(backbone, direction, frames):
    wide = torch.cat([frames, frames.flip(3)], dim=3)[:6]
    edited, _ = VideoEditor(backbone, None, direction, SMALL).edit_frames(wide, PROMPTS)
    assert edited.shape == wide.shape


def no_memory_on_a_gpu():
    raise torch.OutOfMemoryError


def no_memory_on_this_machine():
    torch.empty(2**62, dtype=torch.uint8)


@pytest.mark.parametrize("fail", [no_memory_on_a_gpu, no_memory_on_this_machine])
def test_batches_are_halved_when_memory_runs_out(fail):
    done = []

    def work(part):
        if len(part) > 2:
            fail()
        done.extend(part)

    batches = Batches(8)
    batches.each(range(10), work)
    assert done == list(range(10))
    assert batches.size == 2


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def work(part):
        raise RuntimeError(f"{len(part)} is a bad number")

    with pytest.raises(RuntimeError, match="8 is a bad number"):
        Batches(8).each(range(10), work)


def limit_batches(unet, most: int):
    """A device whose memory holds so many latents at once."""

    def check(_, inputs):
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError

    return unet.register_forward_pre_hook(check)


@pytest.mark.parametrize("mode", ["tokens", "latent"])
def test_windows_are_halved_when_memory_runs_out(backbone, make_unet, frames, mode, caplog):
    """The frames are those of an edit that was asked for the smaller window."""
    direction, settings = make_unet(1), changed(interval=2, anchors=0, propagation=Propagation(mode=mode))
    handle = limit_batches(direction, 4)
    editor = VideoEditor(backbone, None, direction, dataclasses.replace(settings, window=4, chunk_size=8))
    halved, _ = editor.edit_frames(frames, PROMPTS)
    handle.remove()
    small = VideoEditor(backbone, None, direction, dataclasses.replace(settings, window=2, chunk_size=2))
    expected, _ = small.edit_frames(frames, PROMPTS)
    torch.testing.assert_close(halved, expected, rtol=1e-3, atol=1e-3)
    assert "out of memory: going on with windows of 2 keyframes" in caplog.text


def test_decoding_goes_on_in_smaller_batches_and_the_sink_gets_each_frame_once(backbone, direction, frames):
    """What decodes is repeated; what takes the frames, such as a video's encoder, is not."""
    editor = VideoEditor(backbone, None, direction, changed(chunk_size=8))
    whole, again = [], []
    editor.edit(TensorFrames(frames), PROMPTS, whole.append)
    failed = []

    def check(_, inputs):
        if len(inputs[0]) > 3:
            failed.append(len(inputs[0]))
            raise torch.OutOfMemoryError

    handle = backbone.vae.decoder.register_forward_pre_hook(check)
    editor.edit(TensorFrames(frames), PROMPTS, again.append)
    handle.remove()
    assert failed == [8, 4]
    assert sum(map(len, again)) == len(frames)
    torch.testing.assert_close(torch.cat(again), torch.cat(whole), rtol=1e-3, atol=1e-3)


def test_a_sink_that_runs_out_of_memory_is_not_asked_again(backbone, direction, frames):
    taken = []

    def full(images):
        taken.append(len(images))
        raise MemoryError

    with pytest.raises(MemoryError):
        VideoEditor(backbone, None, direction, SMALL).edit(TensorFrames(frames), PROMPTS, full)
    assert len(taken) == 1


def test_a_device_that_holds_no_frame_is_an_error(backbone, make_unet, frames):
    direction = make_unet(1)
    limit_batches(direction, 0)
    with pytest.raises(torch.OutOfMemoryError):
        VideoEditor(backbone, None, direction, SMALL).edit_frames(frames[:2], PROMPTS)


def test_steps_without_guidance_cost_half(backbone, make_unet, frames):
    direction = make_unet(1)
    counter = Counter(direction)
    settings = changed(guidance_from=0.25, guidance_until=0.5, propagation=LATENT)
    VideoEditor(backbone, None, direction, settings).edit_frames(frames, PROMPTS)
    keyframes, guided, unguided = 3, 1, 3
    assert counter.seen == keyframes * (2 * guided + unguided)


def test_the_gate_looks_at_eight_keyframes_where_the_edit_needs_none(backbone, make_unet, frames):
    counted = dataclasses.replace(backbone, unet=make_unet(3))
    counter = Counter(counted.unet)
    settings = changed(interval=1, propagation=Propagation(mode="latent", cancel_inversion=False))
    VideoEditor(counted, make_unet(2), make_unet(1), settings).edit_frames(frames, PROMPTS)
    assert counter.seen == len(frames) * (SMALL.steps + 3) + 8 * SMALL.steps
    counter.seen = 0
    whole = changed(interval=1, propagation=LATENT)
    VideoEditor(counted, make_unet(2), make_unet(1), whole).edit_frames(frames, PROMPTS)
    assert counter.seen == len(frames) * (SMALL.steps + 3) + len(frames) * SMALL.steps


def test_frames_between_keyframes_are_inverted_through_every_second_level(backbone, make_unet, frames):
    """Every frame runs from level 6 on; levels 2, 4 and 6 take one forward each, the first three more."""
    forwards = {}
    for stride in (1, 2, 0):
        counted = dataclasses.replace(backbone, unet=make_unet(3))
        counter = Counter(counted.unet)
        propagation = Propagation(keyframes_first=0, invert_others=stride, correspondence_at=(1 / 3,))
        settings = changed(steps=6, propagation=propagation)
        VideoEditor(counted, make_unet(2), make_unet(1), settings).edit_frames(frames, PROMPTS)
        forwards[stride] = counter.seen
    keyframes, others = 3, 7
    whole = keyframes * (6 + 3) + keyframes * 6
    assert forwards == {
        1: whole + others * (6 + 3),
        2: whole + others * (3 + 3),
        0: whole + (keyframes + others) * 1,
    }


def test_disk_is_known_before_the_edit(backbone, direction, frames):
    editor = VideoEditor(backbone, None, direction, SMALL)
    _, report = editor.edit_frames(frames, PROMPTS)
    assert editor.temporary_bytes(TensorFrames(frames)) == report.disk_bytes > 0
