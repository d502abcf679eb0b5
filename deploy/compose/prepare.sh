#!/bin/sh
# Makes what compose.yaml needs and a repository must not have: passwords and a key in .env, and a certificate in tls/.
# What is there already stays. The certificate is self-signed, for localhost; put one for your host name in its place.
set -eu
cd "$(dirname "$0")"
command -v openssl >/dev/null || { echo "prepare.sh: openssl was not found: install it" >&2; exit 1; }
umask 077
if [ ! -e .env ]; then
    for name in SHOP_PASSWORD ORDERWIRE_SERVER_PASSWORD JWT_SECRET GRAFANA_PASSWORD; do
        echo "$name=$(openssl rand -hex 32)"
    done >.env.new
    mv .env.new .env
    echo "made deploy/compose/.env: keep it as long as the database"
fi
if [ ! -e tls/fullchain.pem ]; then
    mkdir -p tls
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout tls/privkey.pem -out tls/fullchain.pem 2>/dev/null
    echo "made deploy/compose/tls: a self-signed certificate for localhost"
fi
