"""The command line: compose the configuration, check it, dispatch by dotted name."""
