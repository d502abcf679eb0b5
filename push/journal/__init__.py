"""The reading side: events and positions, the relay, replays for clients that resume, the totals and their audit."""
