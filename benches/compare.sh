#!/usr/bin/env bash
# Looking emails up one by one beside a plain HTTP load generator and a script in Python, on the same sandbox in one
# sitting, and whole jobs: ratios count, not figures.
#   benches/compare.sh [LATENCY] [EMAILS]       needs wrk, taskset and GNU time; Python with aiohttp where there is
# PYTHON=python3
#
# The sandbox has a core to itself, and so has whoever asks: otherwise who takes less of the one leaves more to the other.
set -euo pipefail
cd "$(dirname "$0")/.."
latency=${1:-0ms} emails=${2:-100000} connections=64 python=${PYTHON:-python3}
cargo build --locked --release --quiet
rollbook=$PWD/target/release/rollbook
folder=$(mktemp -d)
trap 'kill "$tenant" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

taskset -c 0 "$rollbook" sandbox --port 0 --profiles $((emails * 2)) --latency "$latency" --list list.csv >tenant.txt 2>/dev/null &
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
    taskset -c 1 wrk -t1 -c"$connections" -d8s -s lookups.lua -H "Authorization: Bearer $OMNEO_TOKEN" -H "Accept: application/json" \
        "${OMNEO_BASE_URL%/api/v3}" | awk '/Requests\/sec/ {print $2}'
}

# Every answer's only profile, or that there is not one, kept 500 at a time.
with_python() {
    taskset -c 1 "$python" - "$connections" <<'PYTHON'
import aiohttp, asyncio, json, os, sqlite3, sys, time
ledger = sqlite3.connect("python.db")
ledger.execute("PRAGMA journal_mode=wal")
ledger.execute("CREATE TABLE found (email TEXT PRIMARY KEY, profile TEXT)")
emails = iter({line.split(";")[1].strip().lower(): 0 for line in open("list.csv", errors="replace").readlines()[1:20001]})
found = []

def keep():
    ledger.executemany("INSERT OR IGNORE INTO found VALUES (?, ?)", found)
    ledger.commit()
    found.clear()

async def look_up(session):
    for email in emails:
        query = {"filter[email]": email, "page[size]": "100"}
        async with session.get(os.environ["OMNEO_BASE_URL"] + "/profiles", params=query) as answer:
            ids = [profile["id"] for profile in (await answer.json())["data"] if profile["email"].lower() == email]
        found.append((email, ids[0] if len(ids) == 1 else None))
        if len(found) == 500: keep()

async def main():
    headers = {"Authorization": "Bearer " + os.environ["OMNEO_TOKEN"]}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(look_up(session) for _ in range(int(sys.argv[1]))))
    keep()

begun = time.time()
asyncio.run(main())
print(f"{ledger.execute('SELECT count(*) FROM found').fetchone()[0] / (time.time() - begun):.0f}")
PYTHON
}

# HANDLE SWITCH...: a job, and the requests that it made.
job() {
    local handle=$1
    shift
    rm -f rollbook.db*
    /usr/bin/time -f '%e %M' -o time.txt taskset -c 1 "$rollbook" assign --status "$handle" --yes --rate unlimited \
        --concurrency "$connections" --progress json --json "$@" list.csv >summary.json 2>events.json
    requests=$(grep -o '"requests":[0-9]*' events.json | tail -1 | cut -d: -f2)
    read -r seconds kilobytes <time.txt
    awk -v r="$requests" -v s="$seconds" -v k="$kilobytes" 'BEGIN { printf "%.0f requests/s, %.1f s, %.0f MB\n", r / s, s, k / 1024 }'
}

echo "latency $latency, $emails emails, $connections at a time"
for _ in 1 2; do
    echo "wrk, the same look-ups        $(plain) requests/s"
    echo "rollbook, look-ups only       $(job gold --resolve one --dry-run)"
done
"$python" -c 'import aiohttp' 2>/dev/null && echo "Python with aiohttp           $(with_python) requests/s"
echo "rollbook, a whole job         $(job gold --resolve one)"
echo "the same, many emails at once $(job bronze --resolve many)"
"$rollbook" doctor | grep -c '^ok' | sed 's/$/ checks of the ledger are good/'
grep -A9 '"states"' summary.json
