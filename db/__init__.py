"""All that touches PostgreSQL: its embedded server, the migrations, the LISTEN connection, the journal."""
