"""A world in one process: the real cores, and every arrow between them in the test's hands."""
