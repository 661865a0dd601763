"""Who exists in the miniature: identities, attributes, captions, clips."""
