import time
from pathlib import Path

import pytest
import torch
from forks import FORKS
from torch import Tensor

from keyface.metrics import retrieval
from keyface.metrics.retrieval import RetrievalIdentity, retrieval_scores, retrieve, same_person_ranks


def crowd(queries: int, gallery: int, size: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy queries of the first people of a gallery in which the first ten people have two clips each."""
    generator = torch.Generator().manual_seed(5)
    people = torch.randn(gallery, size, generator=generator)
    asked = torch.arange(queries)
    noisy = people[:queries] + 3.0 * torch.randn(queries, size, generator=generator)
    identities = torch.arange(gallery)
    identities[-10:] = torch.arange(10)
    return noisy, people, asked, identities


def test_chunks_change_nothing() -> None:
    queries, gallery, asked, identities = crowd(20, 101)
    whole = retrieve(queries, gallery, asked, identities, chunk=1000)
    for chunk in (1, 7, 100):
        part = retrieve(queries, gallery, asked, identities, chunk=chunk)
        assert part.ranks.tolist() == whole.ranks.tolist()
        assert part.distances.tolist() == pytest.approx(whole.distances.tolist(), abs=1e-6)
    similarities = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=-1)
    same = asked[:, None] == identities
    assert whole.ranks.tolist() == same_person_ranks(similarities, same).tolist()
    assert 1 < whole.ranks.max() < 90  # neither trivial nor hopeless


def test_euclidean_and_cosine_rank_alike() -> None:
    queries, gallery, asked, identities = crowd(50, 600)
    cosine = retrieve(queries, gallery, asked, identities, "cosine")
    euclidean = retrieve(queries, gallery, asked, identities, "euclidean")
    assert cosine.ranks.tolist() == euclidean.ranks.tolist()
    assert cosine.distances.tolist() == euclidean.distances.tolist()
    # independent of this module: sorted by torch's own distance between unit vectors
    unit = [torch.nn.functional.normalize(x.double(), dim=-1) for x in (queries, gallery)]
    order = torch.cdist(*unit).argsort(dim=1)
    first = (identities[order] == asked[:, None]).int().argmax(dim=1)
    assert euclidean.ranks.tolist() == (first + 1).tolist()


def test_ties_count_against_the_query_across_chunks() -> None:
    """Person 1's clip is also person 2's; whichever chunk it is in, it is no proof."""
    clip = torch.nn.functional.normalize(torch.randn(1, 64, generator=torch.Generator().manual_seed(0)))
    gallery = torch.cat([clip, -clip.expand(5, -1), clip])
    identities = torch.tensor([1, 3, 4, 5, 6, 7, 2])
    for chunk in (1, 3, 100):
        found = retrieve(clip, gallery, torch.tensor([1]), identities, chunk=chunk)
        assert found.ranks.tolist() == [2]


def test_no_more_than_a_chunk_is_ever_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    rankings: set[str] = set()
    similarities = retrieval._similarities

    def watched(queries: Tensor, clips: Tensor, ranking: retrieval.Ranking) -> Tensor:
        widths.append(len(clips))
        rankings.add(ranking)
        return similarities(queries, clips, ranking)

    monkeypatch.setattr(retrieval, "_similarities", watched)
    queries, gallery, asked, identities = crowd(5, 1000)
    retrieve(queries, gallery, asked, identities, chunk=64)
    assert max(widths) == 64
    assert sum(widths) == 1000 + 10  # each clip once, and those of the people asked for once more
    widths.clear()
    metric = RetrievalIdentity("euclidean", chunk=32)
    metric.update(queries, gallery, asked, identities)
    metric.compute()
    assert max(widths) == 32
    assert rankings == {"cosine", "euclidean"}


def test_similarities_by_hand() -> None:
    east, clips = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    assert retrieval._similarities(east, clips, "cosine").tolist() == [pytest.approx([1.0, 0.6, -1.0])]
    expected = [0.0, -(0.8**0.5), -2.0]
    assert retrieval._similarities(east, clips, "euclidean").tolist() == [pytest.approx(expected)]


def test_the_papers_gallery() -> None:
    """50 queries against 35,000 clips of 512 numbers; the bound on time is generous, the goal is 1 s."""
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(35_000, 512, generator=generator)
    ids = torch.arange(35_000)
    began = time.process_time()
    scores = retrieval_scores(gallery[:50] + 0.1, gallery, ids[:50], ids)
    assert time.process_time() - began < 10
    assert scores["r_at_1"].item() == 1.0
    assert scores["cosine_distance"].item() == pytest.approx(1 - 1 / 1.01**0.5, abs=2e-3)


RANK = """
import torch
from keyface.metrics.identity import TemporalIdentity
from keyface.metrics.retrieval import RetrievalIdentity
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
queries = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
people, asked = torch.arange(4), torch.tensor([0, 3])
found, steady = RetrievalIdentity(), TemporalIdentity()
# uneven on purpose: one rank has three of four originals, the other two of three clips
mine = slice(0, 3) if rank == 0 else slice(3, 4)
found.update(queries[rank : rank + 1], gallery[mine], asked[rank : rank + 1], people[mine])
clip = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
for _ in range(1 + rank):
    steady.update(torch.tensor([[1.0, 0.0], [0.6, 0.8]]) if rank else clip, clip)
values = {**found.compute(), **steady.compute()}
answers.put(" ".join(f"{name}={float(value):.4f}" for name, value in values.items()))
torch.distributed.destroy_process_group()
"""


def test_two_processes_agree_on_the_whole(tmp_path: Path) -> None:
    answers = FORKS.SimpleQueue()
    given = {"meeting": str(tmp_path / "meeting"), "answers": answers}
    ranks = [FORKS.Process(target=exec, args=(RANK, {**given, "rank": rank})) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(300)
        assert process.exitcode == 0
    expected = "r_at_1=0.5000 mrr=0.6250 cosine_distance=1.0000 tl_id=0.7333 tg_id=0.7333"
    assert [answers.get() for _ in ranks] == [expected, expected]


def test_metric_passes_its_options_on() -> None:
    queries, gallery, asked, identities = crowd(8, 40)
    metric = RetrievalIdentity("euclidean", chunk=3)
    metric.update(queries, gallery, asked, identities)
    expected = retrieval_scores(queries, gallery, asked, identities)
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, abs=1e-6
    )
