import torch

from keyface.lightning_modules.tuning.seeding import seeded

CPU = torch.device("cpu")


def test_a_seed_decides_what_is_drawn_and_all_else_goes_on_as_before() -> None:
    torch.manual_seed(1)
    without = [torch.rand(3), torch.rand(3)]
    torch.manual_seed(1)
    drawn = []
    first = torch.rand(3)
    for seed in (7, 7, 8):
        with seeded(seed, CPU):
            drawn.append(torch.nn.functional.dropout(torch.ones(100)))
    assert torch.equal(first, without[0])
    assert torch.equal(torch.rand(3), without[1])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
