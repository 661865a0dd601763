"""What a GPU has to tell about keyface within minutes: correctness, speed, memory, section by section."""
