"""`keyface dashboard`: training runs as one HTML file, and as a report in W&B."""

from __future__ import annotations

from pathlib import Path


def dashboard(
    runs: list[Path],
    output: Path | None = None,
    columns: int = 6,
    wandb: bool = False,
    project: str | None = None,
) -> None:
    """Write what training runs look like: curves, edits over steps, success against distance, examples.

    The file needs nothing beside it and no network; any browser opens it, in light or dark. It is made of
    what the runs left in their own folders, so W&B is not needed:

        keyface dashboard runs/miniature/identity

    With --wandb a report of the same is made in your W&B account, of the runs that W&B has.

    Args:
        runs: Folders of runs, or of experiments, whose runs are compared.
        output: The .html to write; dashboard.html in the first folder if not given.
        columns: At how many steps, at most, each clip is shown.
        wandb: Make a report in W&B as well, in the account that is logged in (`wandb login`).
        project: Where, as ENTITY/PROJECT; the project of the runs' config if not given.

    Raises:
        ValueError: There is no run, or a file of one is damaged.
        FileNotFoundError: There is no such folder.
    """
    from keyface.dashboard.page import title_of, write_page
    from keyface.dashboard.runs import find_runs
    from keyface.dashboard.workspace import Account, write_report
    from keyface.files import require_file_name, write_text
    from keyface.progress import say

    if columns < 2:
        raise ValueError(f"--columns {columns}: at least 2, the first step and the last, please")
    if project is not None and not wandb:
        raise ValueError("--project says where the report of --wandb goes; add --wandb, or leave it out")
    found = find_runs(runs)
    account = Account.of(project, found) if wandb else None  # what can be wrong there is found before
    path = runs[0] / "dashboard.html" if output is None else output
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"-o/--output {path}: write to a .html file")
    require_file_name(path)
    title = title_of(runs, found)
    write_text(path, write_page(found, title, columns))
    steps = max(run.steps for run in found)
    said = "1 run" if len(found) == 1 else f"{len(found)} runs"
    say(f"wrote {path}: {said}, up to {steps} steps; open it in a browser")
    if account is not None:
        say(f"wrote {write_report(account, found, title)}")
