import re
from pathlib import Path

import pytest
import torch

from keyface.resume.memory_maps import MemoryMaps, layout_bytes

LAYOUT = {"a": ((3, 5), torch.float32), "b": ((2, 4), torch.int16)}


def resident_files() -> int:
    """Bytes of mapped files that are resident in this process."""
    status = Path("/proc/self/status").read_text()
    return sum(1024 * int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("RssFile", "RssShmem"))


def test_files_are_as_large_as_said_and_their_space_is_reserved(tmp_path):
    files = MemoryMaps(tmp_path).allocate(LAYOUT)
    assert layout_bytes(LAYOUT) == 3 * 5 * 4 + 2 * 4 * 2 == sum(p.stat().st_size for p in tmp_path.iterdir())
    assert all(path.stat().st_blocks > 0 for path in tmp_path.iterdir())
    assert not any(tensor.any() for tensor in files.values())


def test_what_was_written_is_there_for_the_next_process(tmp_path):
    first = MemoryMaps(tmp_path)
    first.allocate(LAYOUT)["a"][1] = 7.0
    first.flush()
    assert MemoryMaps(tmp_path).allocate(LAYOUT)["a"][1].eq(7.0).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_released_pages_are_not_resident_and_not_lost(tmp_path):
    maps, size = MemoryMaps(tmp_path), 2**24
    tensor = maps.allocate({"large": ((size,), torch.uint8)})["large"]
    tensor.fill_(3)
    touched = resident_files()
    maps.release()
    assert touched - resident_files() > 0.9 * size
    assert tensor.eq(3).all()


def test_too_little_disk_is_one_error_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"temporary files may take up to [\d,]+ MB, [\d,]+ MB are free"):
        MemoryMaps(tmp_path).allocate({**LAYOUT, "endless": ((2**60,), torch.uint8)})
    assert not list(tmp_path.iterdir())
