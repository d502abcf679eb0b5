#!/bin/sh
# Follow the events with curl alone: ./follow.sh http://127.0.0.1:8000/api/sse
# It reconnects with the id of the last event, so no event is missed.
[ $# -eq 1 ] || { echo "usage: $0 http://127.0.0.1:8000/api/sse" >&2; exit 2; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM
while :; do
    last=$(sed -n 's/^id: //p' "$log" | tail -n 1)
    printf 'id: %s\n' "$last" > "$log"
    curl -sN -H "Last-Event-ID: $last" "$1" | tee -a "$log"
    sleep 1
done
