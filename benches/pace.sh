#!/usr/bin/env bash
# The pace as the server counts it: asked, achieved over twenty seconds, and the worst one-second window.
#   benches/pace.sh [LATENCY] [RATE...]        rates a second; talks to 127.0.0.1 only
set -euo pipefail
cd "$(dirname "$0")/.."
latency=${1:-5ms}
shift || true
[ $# -gt 0 ] || set -- 10 200 1000
cargo build --locked --release --quiet
rollbook=$PWD/target/release/rollbook
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
export ROLLBOOK_STATE_DIR=$folder/state

# Look-ups only: a dry run is as long as its list. What comes before the first hundredth is the preflight.
measure() {
    : >tenant.txt
    "$rollbook" sandbox --port 0 --profiles 60000 --latency "$latency" --list all.csv --arrivals arrivals >tenant.txt 2>/dev/null &
    local tenant=$!
    until grep -q OMNEO_TOKEN tenant.txt; do sleep 0.1; done
    eval "$(grep ^export tenant.txt)"
    cut -d';' -f2 all.csv | grep '^[a-z.0-9]*@[a-z.]*$' | head -$(($1 * 20)) >list.csv || true
    rm -f rollbook.db*
    "$rollbook" assign --status vip --dry-run --resolve one --rate "$1/s" --concurrency 128 -q list.csv || true
    kill -INT "$tenant"
    wait "$tenant" || true
    awk -v asked="$1" '
        { at[NR] = $1 }
        END {
            first = 10 + int(NR / 100); worst = 0; oldest = 1
            for (newest = 1; newest <= NR; newest++) {
                while (at[newest] - at[oldest] >= 1) oldest++
                if (newest - oldest + 1 > worst) worst = newest - oldest + 1
            }
            achieved = (NR - first) / (at[NR] - at[first])
            printf "%7d/s %10.2f/s %+7.2f %% %11d %8d\n", asked, achieved, (achieved / asked - 1) * 100, worst, NR
        }' arrivals
}

echo "latency $latency"
echo "  asked     achieved       off  worst second  requests"
for rate in "$@"; do measure "$rate"; done
