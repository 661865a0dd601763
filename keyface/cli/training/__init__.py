"""Lightning's subcommands with keyface's defaults, and what is told before and during a run."""
