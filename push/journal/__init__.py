"""Reading side: events and positions, the relay that reads the journal, replay for clients that resume, totals and their audit."""
