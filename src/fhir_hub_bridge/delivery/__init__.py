"""OUT: the notices owed go out, each with its attempts and its proof."""
