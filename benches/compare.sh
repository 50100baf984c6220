#!/usr/bin/env bash
# A whole job beside a plain HTTP load generator, on the same sandbox in one sitting: ratios count, not figures.
#   benches/compare.sh [LATENCY] [EMAILS]       needs wrk; talks to 127.0.0.1 only
set -euo pipefail
cd "$(dirname "$0")/.."
latency=${1:-0ms} emails=${2:-100000} connections=64
cargo build --locked --release --quiet
rollbook=$PWD/target/release/rollbook
folder=$(mktemp -d)
trap 'kill "$tenant" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

"$rollbook" sandbox --port 0 --profiles $((emails * 2)) --latency "$latency" --list list.csv >tenant.txt 2>/dev/null &
tenant=$!
until grep -q OMNEO_TOKEN tenant.txt; do sleep 0.1; done
eval "$(grep ^export tenant.txt)"

plain() {
    cut -d';' -f2 list.csv | grep '^[a-z.0-9]*@[a-z.]*$' | head -5000 >emails.txt || true
    cat >lookups.lua <<'LUA'
local emails, next = {}, 0
for line in io.lines("emails.txt") do emails[#emails + 1] = line end
request = function()
  next = next % #emails + 1
  return wrk.format("GET", "/api/v3/profiles?filter%5Bemail%5D=" .. emails[next] .. "&page%5Bsize%5D=100")
end
LUA
    wrk -t1 -c"$connections" -d8s -s lookups.lua -H "Authorization: Bearer $OMNEO_TOKEN" -H "Accept: application/json" \
        "${OMNEO_BASE_URL%/api/v3}" | awk '/Requests\/sec/ {print $2}'
}

whole_job() {
    rm -f rollbook.db*
    /usr/bin/time -f '%e %M' -o time.txt "$rollbook" assign --status "$1" --yes --rate unlimited --resolve "$2" \
        --concurrency "$connections" --progress json --json list.csv >summary.json 2>events.json
    requests=$(grep -o '"requests":[0-9]*' events.json | tail -1 | cut -d: -f2)
    read -r seconds kilobytes <time.txt
    awk -v r="$requests" -v s="$seconds" -v k="$kilobytes" 'BEGIN { printf "%.0f requests/s, %.1f s, %.0f MB\n", r / s, s, k / 1024 }'
}

echo "latency $latency, $emails emails, $connections at a time"
echo "wrk, look-ups only    $(plain) requests/s"
echo "rollbook, whole job   $(whole_job gold one)"
echo "wrk again             $(plain) requests/s"
echo "rollbook again        $(whole_job silver one)"
echo "many emails at once   $(whole_job bronze many)"
"$rollbook" doctor | grep -c '^ok' | sed 's/$/ checks of the ledger are good/'
grep -A9 '"states"' summary.json
