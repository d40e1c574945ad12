"""A backend that kills its worker: for tests of who is blamed."""
