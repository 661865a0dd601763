"""What becomes of the edited crops: frames, the watermark, and the record beside the video."""
