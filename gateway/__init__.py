"""The edge process: accepts callers, admits them, serves HTTP, and gives each link to its adapter."""
