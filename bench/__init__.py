"""Programs that measure. Nothing here runs in `make test`."""
