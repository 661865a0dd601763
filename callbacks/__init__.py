"""Lightning callbacks: validation videos and the dashboard."""
