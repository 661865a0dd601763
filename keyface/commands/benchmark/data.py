"""`keyface benchmark data`: how fast shards are read, next to webdataset."""

from pathlib import Path

READING = """\
samples_a_second: of a whole pass, decoded and stacked to batches, after the first batch; medians of the
repeats. a_worker: the same for each data loading process. cpu_ms: of all processes for a sample, which other
work on the machine does not change. first_seconds: to the first batch, with finding
the samples and starting workers. resume_seconds: to the first batch of the second half of a pass. Files are
in the system's cache. times_training: samples_a_second by what training consumes, --consumes.
"""


def data(
    shards: Path | None = None,
    samples: int = 400,
    size: int = 512,
    batch_size: int = 8,
    workers: str = "1,2",
    readers: str = "keyface,webdataset",
    repeats: int = 3,
    consumes: float | None = None,
    json: bool = False,
    output: Path | None = None,
) -> None:
    """Measure how fast shards are read: keyface's reader and webdataset's, with the same decoding.

    Without --shards it writes some to a temporary folder, each sample as large as one of CelebA-HQ at full
    size: a picture with its record, a mask, and the latents of 8 noise levels.

    Args:
        shards: Folder of shards to read.
        samples: How many to write where none are given.
        size: Side of the pictures that are written, a multiple of 8.
        batch_size: Samples in a batch.
        workers: Data loading processes, several numbers separated by commas.
        readers: keyface, webdataset, or both separated by a comma.
        repeats: Measurements of each row.
        consumes: Images a second that the training takes on one device, to be compared with.
        json: Print the rows as JSON, one object a reader and number of workers, and nothing else on stdout.
        output: Also write these rows to this file.

    Raises:
        ValueError: The request does not fit together, or the shards cannot be read.
    """
    import tempfile

    from keyface.benchmark.reading import (
        READERS,
        SHARDS,
        ReadingRequest,
        has_latents,
        measure,
        write_full_size,
    )
    from keyface.commands.benchmark.training import chosen
    from keyface.commands.console import tell_rows
    from keyface.files import require_file_name
    from keyface.progress import bar, say

    if output is not None:
        require_file_name(output)
    for name, value in (("--batch-size", batch_size), ("--repeats", repeats)):
        if value < 1:
            raise ValueError(f"{name} {value}: at least 1, please")
    if size < 16 or size % 8:
        raise ValueError(f"--size {size}: at least 16 and a multiple of 8, please")
    if samples < max(SHARDS, 4 * batch_size):
        raise ValueError(f"--samples {samples}: at least {max(SHARDS, 4 * batch_size)}, please")
    if consumes is not None and consumes <= 0:
        raise ValueError(f"--consumes {consumes}: above 0, please")
    numbers = _numbers(workers)
    wanted = [reader for reader in READERS if reader in chosen("--readers", readers, READERS)]
    with tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as name:
        folder = shards
        if folder is None:
            folder = Path(name)
            with bar("write samples of full size", samples, "sample") as advance:
                write_full_size(folder, samples, size, advance)
        rows = []
        for number in numbers:
            for reader in wanted:
                say(f"{reader}, {number} workers")
                request = ReadingRequest(reader, folder, batch_size, number, has_latents(folder))
                row = measure(request, repeats)
                row["a_worker"] = row["samples_a_second"] / max(1, number)
                if consumes is not None:
                    row["times_training"] = row["samples_a_second"] / consumes
                rows.append(row)
    tell_rows(rows, READING, output, json=json)


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"--workers {text}: whole numbers from 0 on, separated by commas, please")
    return list(dict.fromkeys(map(int, words)))
