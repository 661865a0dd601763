"""Many clips: a manifest, a plan that was checked as a whole, and what came of it."""
