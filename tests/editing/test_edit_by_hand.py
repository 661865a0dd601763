"""A whole edit against the method written down once more, plainly.

All keyframes run in one batch, every frame's attention is a loop over the frames that it sees, every token's
correspondence a search through the keyframe's tokens, every step diffusers' own. Only the inversion is the
engine's, which has tests of its own.
"""

import copy
import dataclasses
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler

from keyface.diffusion.inversion import invert
from keyface.diffusion.sampling import denoise
from keyface.editing.attention import self_attention
from keyface.editing.editor import Composition, EditSettings, Injection, Prompts, Propagation, VideoEditor

PROMPTS = Prompts("a face", "a face with glasses")
MATCHED = r"(mid_block|up_blocks).*attn1$"
SCALE, LOCALITY = 3.0, 2.0
TOKENS = Propagation(keyframes_first=0.5, correspondence_at=(0.5,), locality=LOCALITY)
DECODED = Composition(mode="off")
LATENT = Propagation(mode="latent", correspondence_at=(0.5,), locality=LOCALITY)


def choosy(unet):
    """The network with attention that chooses: random weights alone attend to everything alike."""
    for attn in self_attention(unet, "attn1$").values():
        for matrix in (attn.to_q, attn.to_k, attn.to_v):
            matrix.weight.data *= 3
    return unet


class Plain:
    """attn1 as a loop: what it is given, and which frames' keys and values each frame sees.

    Attributes:
        seen: for each frame of a branch the ones that it attends to.
        injected: by layer, (B, S, I) for `to_q`, `to_k`, `to_v`, or (B, S, C) for `output`.
        blend: by layer, the output (branches, F, S, C) to give instead; None to attend.
        stride: n where every n-th token of another frame is seen.
        projections: by layer, what `to_q`, `to_k`, `to_v` and `output` were in the last forward.
    """

    def __init__(self, unet):
        self.layers = self_attention(unet, "attn1$")
        self.seen, self.injected, self.blend, self.stride = None, {}, None, 1
        self.projections = defaultdict(dict)
        for name, attn in self.layers.items():
            attn.set_processor(lambda attn, x, *_, name=name, **__: self.attend(name, attn, x))

    def visible(self, keyframe, by):
        """The tokens of a keyframe that another one attends to; all of its own."""
        return slice(None) if keyframe == by else slice(keyframe % self.stride, None, self.stride)

    def attend(self, name, attn, x):
        if self.blend is not None:
            return self.blend(name).flatten(0, 1)
        kept = self.projections[name]
        injected = self.injected.get(name, {})
        frames = len(self.seen)
        for which in ("to_q", "to_k", "to_v"):
            own = x @ getattr(attn, which).weight.T
            kept[which] = injected[which].repeat(len(x) // frames, 1, 1) if which in injected else own
        output = torch.empty_like(x)
        for row in range(len(x)):
            first, others = row // frames * frames, self.seen[row % frames]
            query = kept["to_q"][row]
            key, value = (
                torch.cat([kept[w][first + i][self.visible(i, row % frames)] for i in others])
                for w in ("to_k", "to_v")
            )
            width, mixed = query.shape[-1] // attn.heads, torch.empty_like(query)
            for head in range(attn.heads):
                part = slice(head * width, (head + 1) * width)
                weights = (query[:, part] @ key[:, part].T / width**0.5).softmax(dim=-1)
                mixed[:, part] = weights @ value[:, part]
            output[row] = mixed @ attn.to_out[0].weight.T + attn.to_out[0].bias
        if "output" in injected:
            output = injected["output"].repeat(len(x) // frames, 1, 1)
        kept["output"] = output
        return output


def descriptors(unet, run):
    """Unit descriptors (F, S, D) by S of what the matched layers were given in the last forward of `run`."""
    given, handles = {}, []
    for name, attn in self_attention(unet, MATCHED).items():
        handles.append(
            attn.register_forward_pre_hook(lambda _, inputs, name=name: given.__setitem__(name, inputs[0]))
        )
    found = run(given)
    for handle in handles:
        handle.remove()
    by_size = defaultdict(list)
    for name in sorted(found):
        by_size[found[name].shape[1]].append(F.normalize(found[name], dim=-1))
    return {size: F.normalize(torch.cat(parts, dim=-1), dim=-1) for size, parts in by_size.items()}


def nearest(token, keys, index, side):
    """The keyframe's token most like this one, where distance costs."""
    best, best_score = -1, -float("inf")
    for other, key in enumerate(keys):
        rows, columns = index // side - other // side, index % side - other % side
        score = float(token @ key) - LOCALITY * (rows**2 + columns**2) / side**2
        if score > best_score:
            best, best_score = other, score
    return best


class FirstOrder:
    """DDIM's steps, diffusers' own."""

    def __init__(self, scheduler, steps):
        self.scheduler = copy.deepcopy(scheduler)
        self.scheduler.set_timesteps(steps)

    def __call__(self, output, timestep, x):
        return self.scheduler.step(output, timestep, x).prev_sample


class SecondOrder:
    """DPM-Solver++(2M), diffusers' own, for frames that take all steps from a timestep on together."""

    def __init__(self, scheduler, timesteps):
        self.solver = DPMSolverMultistepScheduler.from_config(
            scheduler.config,
            final_sigmas_type="zero" if scheduler.config.set_alpha_to_one else "sigma_min",
            euler_at_final=True,
        )
        self.solver.set_timesteps(timesteps=timesteps)

    def __call__(self, output, timestep, x):
        return self.solver.step(output, timestep, x).prev_sample


def by_hand(backbone, identity, direction, settings, frames, keyframes, seen):
    """The edited frames (T, 3, H, W); `seen` says by rows which keyframes each keyframe attends to."""
    steps = settings.steps
    scheduler = copy.deepcopy(backbone.scheduler)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps.tolist()  # noisiest first
    if settings.solver == "ddim":
        step_keyframes = step_others = FirstOrder(scheduler, steps)
    else:
        step_keyframes = SecondOrder(scheduler, timesteps)
        step_others = SecondOrder(scheduler, timesteps[steps // 2 :])
    source, target = (backbone.encode_prompts([p]) for p in (PROMPTS.source, PROMPTS.target))
    latents = backbone.encode_images(frames)
    count, others = len(keyframes), [f for f in range(len(frames)) if f not in keyframes]
    in_latents = settings.propagation.mode == "latent"
    only_matched = in_latents or settings.propagation.invert_others == 0

    exactly = [None]
    matched = {}

    def walk(given):
        level = [0]
        at_level = {}

        def before(now):
            if level[0] == steps // 2:
                at_level.update(given)  # of several runs of a level the last one counts
            level[0] = now

        exactly[0] = invert(backbone.unet, scheduler, latents, source, steps, before_level=before)
        if only_matched:
            invert(backbone.unet, scheduler, latents, source, steps, 0, levels=[steps // 2])
            at_level.update(given)
        return at_level

    matched = descriptors(backbone.unet, walk)
    inverted = exactly[0]

    follows = {}
    for f in others:
        before = max([k for k in keyframes if k < f], default=min(keyframes))
        after = min([k for k in keyframes if k > f], default=max(keyframes))
        share = 1.0 if before == after else (after - f) / (after - before)
        follows[f] = (before, after, share)
    fields = {
        (size, f, k): [
            nearest(token, tokens[k].half().float(), i, round(size**0.5)) for i, token in enumerate(tokens[f])
        ]
        for size, tokens in matched.items()
        for f in others
        for k in follows[f][:2]
    }

    def blended(values, f):
        """Eq. 4 for one frame: tokens by keyframe (…, S, C) → (…, S, C)."""
        before, after, share = follows[f]
        size = values[before].shape[-2]
        first, second = (values[k][..., fields[size, f, k], :] for k in (before, after))
        return share * first + (1 - share) * second

    def moved(edits, f):
        """Eq. 4 on latents: (C, h, w) by keyframe → (C, h, w)."""
        cells = {k: edit.flatten(1).T for k, edit in edits.items()}
        return blended(cells, f).T.reshape(next(iter(edits.values())).shape)

    def guided(x, timestep, on):
        out = direction(
            torch.cat([x, x]),
            timestep,
            encoder_hidden_states=torch.cat([source.expand(len(x), -1, -1), target.expand(len(x), -1, -1)]),
        ).sample
        unguided, target_alone = out[: len(x)], out[len(x) :]
        if not on:
            return target_alone
        push = (SCALE - 1) * (target_alone - unguided)
        if settings.guidance_limit is not None:
            far = torch.linalg.vector_norm(push, dim=1, keepdim=True) / push.shape[1] ** 0.5
            assert (far > settings.guidance_limit).any()
            assert (far < settings.guidance_limit).any()
            push = torch.where(far > settings.guidance_limit, push * settings.guidance_limit / far, push)
        return target_alone + push

    first, second = Plain(identity), Plain(direction)
    first.seen = [[i] for i in range(count)]
    second.stride = settings.joint_stride
    keys = list(keyframes)
    at = {f: inverted[steps][f] for f in range(len(frames))}
    wanted = {"qk": ("to_q", "to_k"), "kv": ("to_k", "to_v"), "output": ("output",)}[settings.injection.mode]
    for step, timestep in enumerate(timesteps):
        level = steps - step
        on = settings.guidance_from <= step / steps < settings.guidance_until
        with_others = not in_latents and step >= steps // 2
        if with_others and step == steps // 2:
            unedited = inverted[level]
            if only_matched:
                unedited = backbone.scheduler.alphas_cumprod[timestep].sqrt() * latents
            edits = {k: at[k] - unedited[k] for k in keys}
            at |= {f: unedited[f] + moved(edits, f) for f in others}
        second.injected = {}
        if step < steps // 2:
            identity(inverted[level][keys], timestep, encoder_hidden_states=source.expand(count, -1, -1))
            second.injected = {
                name: {which: kept[which] for which in wanted}
                for name, kept in first.projections.items()
                if name.startswith("up_blocks")
            }
        second.seen, second.blend = seen, None
        stepped = {}
        x = torch.stack([at[k] for k in keys])
        stepped |= dict(zip(keys, step_keyframes(guided(x, timestep, on), timestep, x), strict=True))
        if with_others:
            outputs = {n: kept["output"].unflatten(0, (2, -1)) for n, kept in second.projections.items()}
            second.blend = lambda name, outputs=outputs: torch.stack(
                [blended({k: outputs[name][:, i] for i, k in enumerate(keys)}, f) for f in others], dim=1
            )
            x = torch.stack([at[f] for f in others])
            stepped |= dict(zip(others, step_others(guided(x, timestep, on), timestep, x), strict=True))
        at |= stepped
    if in_latents:
        kept = latents[keys]
        if settings.propagation.cancel_inversion:
            kept = denoise(backbone.unet, scheduler, inverted[steps][keys], source, steps)
        edits = {k: at[k] - kept[i] for i, k in enumerate(keys)}
        at = {f: latents[f] + (edits[f] if f in edits else moved(edits, f)) for f in range(len(frames))}
    return backbone.decode_latents(torch.stack([at[f] for f in range(len(frames))])).clamp(-1, 1)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers on NumPy 2
@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_steps_of_both_orders(backbone, make_unet, frames, epsilon_scheduler, solver):
    """Six steps of ε-prediction, of which keyframes take all and the other frames the last three."""
    base = dataclasses.replace(backbone, unet=choosy(make_unet(0)), scheduler=epsilon_scheduler)
    identity, direction = choosy(make_unet(2)), choosy(make_unet(1))
    settings = EditSettings(
        steps=6,
        solver=solver,
        guidance_scale=SCALE,
        interval=3,
        propagation=TOKENS,
        composition=DECODED,
    )
    frames = frames[:8]
    found, report = VideoEditor(base, identity, direction, settings).edit_frames(frames, PROMPTS)
    expected = by_hand(base, identity, direction, settings, frames, report.keyframes, [[0, 1, 2]] * 3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=3e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("propagation", "mode", "windows"),
    [
        (TOKENS, "qk", {"window": 8}),
        (TOKENS, "qk", {"window": 1, "anchors": 1}),
        (TOKENS, "kv", {"window": 8}),
        (TOKENS, "output", {"joint_attention": False}),
        (LATENT, "qk", {"window": 8}),
        (LATENT, "qk", {"window": 8, "guidance_from": 0.25, "guidance_until": 0.75}),
        (LATENT, "kv", {"window": 8, "joint_stride": 2}),
        (dataclasses.replace(TOKENS, invert_others=0), "qk", {"window": 8}),
        (dataclasses.replace(LATENT, cancel_inversion=False), "qk", {"window": 8}),
        (TOKENS, "qk", {"window": 8, "guidance_limit": 0.07}),
    ],
    ids=[
        *("tokens", "windows with an anchor", "kv", "output, frame by frame", "latent", "guided for a while"),
        *("half of the other keyframes", "others not inverted", "from the clean latent", "limited guidance"),
    ],
)
def test_edited_frames(backbone, make_unet, frames, propagation, mode, windows):
    base = copy.copy(backbone)
    base.unet = choosy(make_unet(0))
    identity, direction = choosy(make_unet(2)), choosy(make_unet(1))
    settings = EditSettings(
        guidance_scale=SCALE,
        interval=3,
        injection=Injection(mode=mode),
        propagation=propagation,
        composition=DECODED,
        **{"steps": 4, **windows},
    )
    frames = frames[:8]
    found, report = VideoEditor(base, identity, direction, settings).edit_frames(frames, PROMPTS)
    assert len(report.keyframes) == 3
    everyone = [[0, 1, 2]] * 3
    seen = {
        8: everyone,
        1: [[0, 1], [0, 1], [0, 2]],
        None: [[0], [1], [2]],
    }[windows.get("window")]
    expected = by_hand(base, identity, direction, settings, frames, report.keyframes, seen)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    untouched = base.decode_latents(base.encode_images(frames)).clamp(-1, 1)
    assert (found - untouched).abs().amax(dim=(1, 2, 3)).min() > 0.05, (
        "an edit that is too weak proves nothing"
    )
