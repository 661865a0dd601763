"""Commands that edit videos, find the people in them, or verify what was written."""
