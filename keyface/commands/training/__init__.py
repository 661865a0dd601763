"""Commands about what trainings wrote: dashboards and exports."""
