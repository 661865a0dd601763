"""The server of a study's page."""
