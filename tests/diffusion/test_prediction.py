"""What a U-Net is given and what comes back, whatever precision it runs in."""

from types import SimpleNamespace

import torch

from keyface.diffusion.prediction import predict


class Noting:
    """A network of bf16 that notes what it is given."""

    dtype = torch.bfloat16

    def __call__(self, latents, timestep, encoder_hidden_states, **more):
        self.given = {"latents": latents, "timestep": timestep, "text": encoder_hidden_states, **more}
        return SimpleNamespace(sample=latents)


def test_all_is_in_the_network_s_precision_on_the_latents_device():
    network = Noting()
    output = predict(network, torch.empty(3, 4, 8, 8, device="meta"), 500, torch.zeros(1, 8, 16))
    given = {name: (each.shape, each.dtype, each.device.type) for name, each in network.given.items()}
    assert given == {
        "latents": ((3, 4, 8, 8), torch.bfloat16, "meta"),
        "timestep": ((), torch.int64, "meta"),
        "text": ((3, 8, 16), torch.bfloat16, "meta"),
    }
    assert (output.dtype, output.device.type) == (torch.float32, "meta")


def test_a_number_for_all_and_a_timestep_for_each():
    network, latents = Noting(), torch.randn(2, 4, 8, 8)
    predict(network, latents, 500, torch.zeros(1, 8, 16))
    assert network.given["timestep"].item() == 500
    timesteps = torch.tensor([10, 700])
    predict(network, latents, timesteps, torch.zeros(1, 8, 16))
    assert network.given["timestep"] is timesteps
