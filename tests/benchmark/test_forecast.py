"""The time of a comparison at Stable Diffusion's shapes, before it starts."""

import pytest
import torch

from keyface.benchmark import forecast
from keyface.benchmark.comparison import Comparison
from keyface.benchmark.limit.arithmetic import stage_flops
from keyface.editing.settings import EditSettings, Injection, Propagation

WAYS = {
    "latent": EditSettings(steps=2, propagation=Propagation(mode="latent")),
    "tokenflow": EditSettings(
        steps=2, propagation=Propagation.tokenflow(), injection=Injection.tokenflow(), guidance_scale=2.0
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_longer_clips_are_reckoned_from_shorter_ones(
    way: EditSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "STEPS", 2)
    counted = sum(stage_flops(way, 144, 512).values())
    assert forecast.arithmetic(way, 144, 512) == pytest.approx(counted, rel=0.02)


def test_the_line_divides_the_work_by_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways and two lengths, three times; 1e12 operations a frame at 1e12 a second."""
    monkeypatch.setattr(forecast, "speed", lambda device, dtype, channels_last: 1e12)
    monkeypatch.setattr(forecast, "arithmetic", lambda way, frames, size: 1e12 * frames)
    comparison = Comparison.of(
        frames="300,600", modes="tokens,latent", settings={}, scale="sd21", device="cpu"
    )
    line = forecast.forecast(comparison)
    assert line.startswith(
        "forecast: about 90.0 minutes for 2 x 2 edits, 3 times: 1.8 PFLOP each time at 1 TF"
    )


def test_the_speed_is_measured() -> None:
    assert 1e8 < forecast.speed("cpu", torch.float32) < 1e14


def test_times_are_said_as_people_say_them() -> None:
    said = [forecast.in_words(seconds) for seconds in (30, 150, 9_000, 57_600, 400_000)]
    assert said == ["30 seconds", "2.5 minutes", "2.5 hours", "16.0 hours", "4.6 days"]
