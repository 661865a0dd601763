"""Who is where in a video: people, their faces in every frame, and the shots."""

from keyface.footage.people import Footage, Person, Segment, embedding_on
from keyface.footage.scan import scan

__all__ = ["Footage", "Person", "Segment", "embedding_on", "scan"]
