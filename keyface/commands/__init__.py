"""The subcommands of `keyface`: plain typed functions, a module each."""
