"""The page of `keyface studio`: clips, previews, and a queue of edits that other programs can call, too."""
