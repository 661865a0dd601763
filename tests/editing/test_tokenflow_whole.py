"""A whole edit in TokenFlow's mode against its published algorithm, written out in plain loops."""

import copy
import re
from functools import partial

import torch

from keyface.diffusion.inversion import invert
from keyface.diffusion.schedule import Grid
from keyface.editing.editor import Composition, EditSettings, Injection, Prompts, Propagation, VideoEditor
from keyface.editing.keyframes import select_keyframes

STEPS, INTERVAL, SCALE, SEED = 5, 4, 3.0, 2
SETTINGS = EditSettings(
    steps=STEPS,
    interval=INTERVAL,
    guidance_scale=SCALE,
    seed=SEED,
    propagation=Propagation.tokenflow(),
    injection=Injection.tokenflow(),
    composition=Composition(mode="off"),
)


class Published:
    """A U-Net whose attn1 layers do what TokenFlow's do; a batch is source, negative, target of some frames.

    The keyframes' pass: the source attends to itself, the other branches to all keyframes, and take the
    source's queries and keys where features are injected. The pass of an interval's frames: each token takes
    what the most similar tokens of two keyframes gave, the interval's own and the one before.
    """

    def __init__(self, unet) -> None:
        self.unet = copy.deepcopy(unet)
        self.tokens, self.outputs = {}, {}
        self.keyframes, self.inject, self.residual, self.number = True, False, False, 0
        for name, module in self.unet.named_modules():
            if name.endswith("attn1"):
                module.forward = partial(self.attend, name, module)
        self.unet.up_blocks[1].resnets[1].conv2.register_forward_hook(self.share)

    def share(self, module, inputs, output):
        return output.chunk(3)[0].repeat(3, 1, 1, 1) if self.residual else output

    def attend(self, name, attn, tokens, **_):
        branches = tokens.unflatten(0, (3, -1))
        self.frames, self.length = branches.shape[1:3]
        if self.keyframes:
            self.tokens[name] = branches[0]
            self.outputs[name] = torch.stack([self.branch(name, attn, branches, b) for b in range(3)])
            return self.outputs[name].flatten(0, 1)
        found = self.taken(name, branches[0], self.number)
        if self.number > 0:
            first = self.number * self.frames
            places = torch.arange(first, first + self.frames)
            to_own = (places - (first + self.frames // 2)).abs()
            to_before = (places - (first - self.frames + self.frames // 2)).abs()
            share = torch.sigmoid(to_before / (to_own + to_before))[None, :, None, None]
            found = share * found + (1 - share) * self.taken(name, branches[0], self.number - 1)
        return found.flatten(0, 1)

    def branch(self, name, attn, branches, number):
        layer = re.search(r"up_blocks\.1\.attentions\.1\.", name)
        asks = branches[0] if self.inject and layer else branches[number]
        query, key, value = attn.to_q(asks), attn.to_k(asks), attn.to_v(branches[number])
        rows = []
        for frame in range(self.frames):
            seen = [frame] if number == 0 else list(range(self.frames))
            q, k, v = (
                part.flatten(0, 1).unflatten(-1, (attn.heads, -1)).transpose(0, 1)
                for part in (query[[frame]], key[seen], value[seen])
            )
            attended = (q @ k.transpose(1, 2) * attn.scale).softmax(-1) @ v
            rows.append(attn.to_out[0](attended.transpose(0, 1).flatten(1)))
        return torch.stack(rows)

    def taken(self, name, source, keyframe):
        keys = self.tokens[name][keyframe]
        alike = torch.nn.functional.cosine_similarity(source[:, :, None], keys[None, None], dim=-1)
        nearest = alike.argmax(dim=-1)  # (F, S)
        outputs = self.outputs[name][:, keyframe]
        return torch.stack([outputs[:, nearest[frame]] for frame in range(self.frames)], dim=1)


@torch.no_grad()
def published_edit(backbone, direction, clean, source, negative, target):
    """Edit clean latents (T, C, h, w)."""
    trajectory = invert(backbone.unet, backbone.scheduler, clean, source, STEPS)
    grid, scheduler = Grid.of(backbone.scheduler, STEPS), copy.deepcopy(backbone.scheduler)
    scheduler.set_timesteps(STEPS)
    network, latents = Published(direction), trajectory[-1]
    for step in range(STEPS):
        level = STEPS - step
        timestep = grid.timestep(level)
        network.inject, network.residual = step < int(0.5 * STEPS), step < int(0.8 * STEPS)

        def run(frames, level=level, latents=latents, timestep=timestep):
            frames = list(frames)
            batch = torch.cat([trajectory[level][frames], latents[frames], latents[frames]])
            text = torch.cat([each.expand(len(frames), -1, -1) for each in (source, negative, target)])
            _, away, towards = network.unet(batch, timestep, encoder_hidden_states=text).sample.chunk(3)
            return away + SCALE * (towards - away)

        network.keyframes = True
        run(select_keyframes(len(clean), INTERVAL, SEED + step + 1))
        network.keyframes, outputs = False, []
        for network.number, first in enumerate(range(0, len(clean), INTERVAL)):
            outputs.append(run(range(first, first + INTERVAL)))
        latents = scheduler.step(torch.cat(outputs), timestep, latents).prev_sample
    return latents


def test_edited_frames_are_those_of_the_published_algorithm(backbone, make_unet, frames):
    frames, direction = frames[:8], make_unet(1)
    prompts = Prompts("a face", "a face with glasses", "with")
    found, _ = VideoEditor(backbone, None, direction, SETTINGS).edit_frames(frames, prompts)
    with torch.no_grad():
        clean = backbone.encode_images(frames)
        texts = backbone.encode_prompts([prompts.source, prompts.negative, prompts.target]).chunk(3)
        expected = backbone.decode_latents(published_edit(backbone, direction, clean, *texts)).clamp(-1, 1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (expected - backbone.decode_latents(clean)).abs().max() > 0.01, "it is an edit"
