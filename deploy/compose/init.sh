#!/bin/sh
# Makes a hub of three servers in /hubs: `docker compose run --rm init`. What is said after it goes to `edgeagent hub init`.
set -eu

# The ports count on from server to server, so those in here are those out there, and one name is enough for devices and people.
edgeagent hub init --dir /hubs/hub --cluster 3 --name "$EDGEAGENT_NAME" --admin "$EDGEAGENT_ADMIN" \
  --listen 0.0.0.0 --advertise "$EDGEAGENT_HOST" --store-bytes "$EDGEAGENT_STORE_BYTES" \
  --tls-self --tls-name hub-1 --tls-name hub-2 --tls-name hub-3 "$@"

number=0
for folder in /hubs/hub /hubs/hub-2 /hubs/hub-3; do
  # To each other they are services of this network, and their routes are nobody else's business. Prometheus is another machine, as it were.
  sed -i -e '/^\[metrics\]$/,+1d' \
    -e "s|^routes = .*|routes = [\"hub-1:6222\", \"hub-2:6223\", \"hub-3:6224\"]|" "$folder/hub.toml"
  { printf '\n[metrics]\nlisten = "0.0.0.0:%s"\n' "$((9464 + number))"; cat /more.toml; } >> "$folder/hub.toml"
  number=$((number + 1))
done
echo "Next: docker compose up -d"
