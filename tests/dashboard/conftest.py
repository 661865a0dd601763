"""What the dashboard's tests share."""

from dashboard_runs import make_run

__all__ = ["make_run"]
