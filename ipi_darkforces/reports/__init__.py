"""Pages, tables and pictures of results: no computation."""
