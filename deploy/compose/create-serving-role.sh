#!/bin/sh
# Runs once, when the database is new: the role that the server logs in with. `migrate --grant` gives it its rights.
set -eu
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 --set password="$ORDERWIRE_SERVER_PASSWORD" <<'SQL'
create role orderwire_server login password :'password';
SQL
