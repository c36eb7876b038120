"""Where the flows run: one machine with `csift up`."""
