"""The broker's client: NATS, behind the protocol of ``push.journal.bus``. Imported only where BROKER_URL is set."""
