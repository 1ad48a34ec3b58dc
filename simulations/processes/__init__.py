"""Worker processes of this machine, and independent jobs on them."""
