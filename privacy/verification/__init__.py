"""A reviewer's library: evidence in, a list of checks out. It reads files, and believes nothing in them."""
