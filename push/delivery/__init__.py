"""Sending side: the hub, sessions and cohorts, the broadcast log and the limits on what waits for a client."""
