"""`keyface benchmark` and its subcommands: speed, memory and accuracy, a module each."""
