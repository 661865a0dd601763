"""Work that may be killed and goes on: batches, journal, memory maps, session."""
