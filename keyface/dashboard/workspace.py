"""The same as a report in W&B, of the runs that it has, in the account that is logged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from keyface.dashboard.measures import BY_TIMESTEP, DISTANCE, MEASURES, SIMILARITY, SUCCESS
from keyface.dashboard.runs import Run
from keyface.doctor.machine import has_wandb_login

if TYPE_CHECKING:
    from wandb_workspaces.reports import v2

STEP = "trainer/global_step"
"""What curves are drawn over, as Lightning logs it."""

_MOST = 128
"""Characters of a title that W&B takes."""


@dataclass(frozen=True)
class Account:
    """Where a report goes.

    Attributes:
        entity: User or team; empty for the account's own.
        project: In it.
    """

    entity: str
    project: str

    @classmethod
    def of(cls, asked: str | None, runs: Sequence[Run]) -> Account:
        """Return where a report of runs goes, once it is known that one can be made.

        Args:
            asked: ENTITY/PROJECT or PROJECT; None takes what the newest run's config says.
            runs: Those of the report.

        Raises:
            ImportError: wandb-workspaces is missing.
            ValueError: Nobody is logged in, no run was logged to W&B, or no project is known.
        """
        if find_spec("wandb_workspaces") is None:
            raise ImportError(
                "--wandb needs wandb-workspaces: pip install 'keyface[dashboard]'; without --wandb the same "
                "is written as an HTML file"
            )
        if not any(run.wandb for run in runs):
            raise ValueError(
                "--wandb: none of these runs was logged to W&B; train with -c configs/wandb.yaml, or leave "
                "--wandb out"
            )
        if not has_wandb_login():
            raise ValueError(
                "--wandb: nobody is logged in to W&B here; run `wandb login`, then `wandb sync` what was "
                "logged offline, or leave --wandb out"
            )
        place = asked or next((found for run in reversed(runs) if (found := _project(run.config))), None)
        if place is None:
            raise ValueError("--wandb: the runs' configs name no project; say --project ENTITY/PROJECT")
        entity, _, project = place.rpartition("/")
        return cls(entity, project)


def _project(config: Mapping[str, Any]) -> str | None:
    """Return ENTITY/PROJECT, or PROJECT, of the W&B logger of a run's config; None without one."""
    logger = config.get("trainer.logger")
    several = logger if isinstance(logger, list) else [_section(config, "trainer.logger.")]
    for each in several:
        given = each.get("init_args", {}) if isinstance(each, dict) else {}
        if project := given.get("project"):
            return "/".join(filter(None, (given.get("entity"), project)))
    return None


def _section(config: Mapping[str, Any], start: str) -> dict[str, Any]:
    given = start + "init_args."
    return {
        "init_args": {name.removeprefix(given): config[name] for name in config if name.startswith(given)}
    }


def write_report(account: Account, runs: Sequence[Run], title: str) -> str:
    """Make the report and return its address.

    Raises:
        RuntimeError: W&B cannot be reached, or refuses; its libraries raise errors of many kinds.
    """
    try:
        return str(report(account, runs, title).save().url)
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise RuntimeError(f"W&B made no report: {said}; the HTML file is written all the same") from error


def report(account: Account, runs: Sequence[Run], title: str) -> v2.Report:
    """Return a report of runs, which is not in W&B yet."""
    from wandb_workspaces.reports import v2

    names = [run.wandb["id"] for run in runs if run.wandb]
    runset = v2.Runset(
        entity=account.entity,
        project=account.project,
        name=title[:_MOST],
        filters=f"Metric('ID') in {names!r}",
    )
    keys = list(dict.fromkeys(key for run in runs for key in run.curves))
    by_category = [f"{measure.key}/" for measure in MEASURES if measure.key.startswith("edit/")]
    success = SUCCESS if SUCCESS in keys else SIMILARITY
    named = [measure for measure in MEASURES if measure.key in keys]
    sections: list[tuple[str, list[Any]]] = [
        (
            "Success against distance",
            [
                v2.ScatterPlot(
                    title="newest edits of each run: up and to the left is better",
                    x=v2.SummaryMetric(DISTANCE),
                    y=v2.SummaryMetric(success),
                ),
                *(_curve(v2, measure.title, measure.key) for measure in named if "edit/" in measure.key),
            ],
        ),
        (
            "Edits over steps",
            [
                v2.MediaBrowser(title="before and after", media_keys=["edit/sheet"], gallery_axis="step"),
                v2.MediaBrowser(title="source and edit", media_keys=["edit/videos"], gallery_axis="step"),
            ],
        ),
        (
            "Losses",
            [
                *(_curve(v2, key, key) for key in keys if key.startswith(("val/", "train/"))
                  and not key.startswith(BY_TIMESTEP)),
                v2.LinePlot(
                    title="loss by noise level",
                    x=STEP,
                    y=[key for key in keys if key.startswith(BY_TIMESTEP)],
                ),
            ],
        ),
        ("Optimizer and machine", [_curve(v2, key, key) for key in keys if key[:6] in ("optim/", "speed/")]),
        (
            "By category",
            [_curve(v2, key, key) for key in keys if key.startswith(tuple(by_category))],
        ),
        ("Examples", [v2.WeavePanelSummaryTable(table_name="edit/table")]),
    ]  # fmt: skip
    blocks: list[Any] = [
        v2.P("Written by keyface dashboard. Every edited face here is synthetic."),
        v2.TableOfContents(),
    ]
    for heading, panels in sections:
        if panels:
            blocks += [v2.H2(heading), v2.PanelGrid(runsets=[runset], panels=panels)]
    given = {"entity": account.entity} if account.entity else {}
    return v2.Report(project=account.project, title=title[:_MOST], width="fluid", blocks=blocks, **given)


def _curve(reports: Any, title: str, key: str) -> Any:
    return reports.LinePlot(title=title, x=STEP, y=[key])
