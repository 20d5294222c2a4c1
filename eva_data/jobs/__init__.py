"""Work that needs a process of its own."""
