"""`keyface plugins`: the edit categories that are installed, and those that one writes."""
