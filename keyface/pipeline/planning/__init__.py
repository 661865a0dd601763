"""Who is edited where, with which words and settings: found before the model runs."""
