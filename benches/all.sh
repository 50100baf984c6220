#!/usr/bin/env bash
# Everything that the README's tables say, one after the other: an hour on two cores that do nothing else.
#   benches/all.sh [RESULTS FILE]       needs what the single scripts need; each says what it measures
set -euo pipefail
cd "$(dirname "$0")"
results=${1:-/dev/null}
{
    ./pace.sh 5ms
    for latency in 0ms 20ms 100ms; do ./compare.sh "$latency" 100000; done
    ./requests.sh 20000 20ms
    ./requests.sh 200000 20ms
    ./requests.sh 2000000 20ms 1000000
    ./load.sh 1000000 10000000
} | tee "$results"
