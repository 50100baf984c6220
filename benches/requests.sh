#!/usr/bin/env bash
# Requests that whole jobs take by each way of looking emails up, for lists of several sizes in one tenant.
#   benches/requests.sh [PROFILES] [LATENCY] [LIST SIZES...]
#   WAYS="many" ROLLBOOK=/path/to/rollbook benches/requests.sh ...    only some ways, and a binary that is built already
# Lists are the sandbox's realistic ones (some 4 % of the emails unknown, capitals, repeats); `known` is the longest one
# without the emails that the tenant does not know, `unknown4` and `unknown10` are that with so many in a hundred whom nobody
# knows. Talks to 127.0.0.1 only.
set -euo pipefail
cd "$(dirname "$0")/.."
profiles=${1:-100000} latency=${2:-20ms}
shift $(($# < 2 ? $# : 2))
sizes=("$@")
[ ${#sizes[@]} -gt 0 ] || sizes=($((profiles / 20)) $((profiles / 4)) $((profiles / 2)))
rollbook=${ROLLBOOK:-$PWD/target/release/rollbook}
[ -n "${ROLLBOOK:-}" ] || cargo build --locked --release --quiet
folder=$(mktemp -d)
trap 'kill "$tenant" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

# A tenant of its own for each job, so that nobody holds the status already.
begin() {
    rm -f tenant.txt
    "$rollbook" sandbox --port 0 --profiles "$profiles" --latency "$latency" "$@" >tenant.txt 2>/dev/null &
    tenant=$!
    until grep -qs "^export.*OMNEO_TOKEN=." tenant.txt; do sleep 0.1; done
    eval "$(grep ^export tenant.txt)"
}

# LIST WAY
job() {
    begin
    rm -f rollbook.db*
    /usr/bin/time -f '%e %U %S %M' -o time.txt "$rollbook" assign --status gold --yes --rate unlimited --concurrency 64 \
        --resolve "$2" --progress json --json "$1" >summary.json 2>events.json
    kill "$tenant" && wait "$tenant" 2>/dev/null || true
    requests=$(grep -o '"requests":[0-9]*' events.json | tail -1 | cut -d: -f2)
    entries=$(sed -n 's|.*"entries": *\([0-9]*\).*|\1|p' summary.json | tail -1)
    read -r seconds user system kilobytes < <(tail -1 time.txt)
    awk -v l="$1" -v w="$2" -v n="$entries" -v r="$requests" -v s="$seconds" -v u="$user" -v y="$system" -v k="$kilobytes" 'BEGIN {
        printf "%-10s %-5s %10d %10d %12.2f %8.1f %8.0f %6.0f\n", l, w, n, r, 100 * r / n, s, (u + y) * 1e6 / r, k / 1024 }'
}

echo "tenant of $profiles profiles, $latency, 64 at a time"
printf '%-10s %-5s %10s %10s %12s %8s %8s %6s\n' list way emails requests per_100 seconds us/req MB
begin --list all.csv
kill "$tenant" && wait "$tenant" 2>/dev/null || true
for size in "${sizes[@]}"; do
    head -n $((size + 1)) all.csv >"$size"
    for way in ${WAYS:-one many scan}; do job "$size" $way; done
done
"$rollbook" export --format csv | awk -F, 'NR == 1 || $3 != "not_found" { print $1 }' >known
for way in ${WAYS:-many scan}; do job known $way; done
for share in 4 10; do
    awk -v s="$share" 'NR > 1 && rand() * (100 - s) < s { print "stranger" NR "@example.org" } { print }' known >"unknown$share"
    job "unknown$share" many
done
