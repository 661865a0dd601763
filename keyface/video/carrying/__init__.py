"""What a video takes over from its source beside pictures: sound, subtitles, chapters, tags, attachments."""
