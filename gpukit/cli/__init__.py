"""The command line: a lazy click group, one thin file a command."""
