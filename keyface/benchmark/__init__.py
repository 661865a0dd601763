"""How fast, how large and how good: editing modes side by side, each measured in a process of its own."""
