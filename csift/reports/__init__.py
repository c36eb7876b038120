"""What people read: the run report, its plots, and every table and progress bar of the command line."""
