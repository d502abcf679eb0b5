"""How the processes that share one reader of the journal reach one another, behind the protocol of ``push.journal.bus``: the
socket pairs of workers, and NATS, which is imported only where BROKER_URL is set.
"""
