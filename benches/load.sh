#!/usr/bin/env bash
# Taking lists in, exporting and looking at size, beside what one would use instead: ratios count, not figures.
#   benches/load.sh [ROWS...]       needs the sqlite3 shell, awk and GNU time; Python and its duckdb where there are
# ROUNDS=3 (medians of so many, turn by turn), FOLDER=/tmp (1.2 kB of disk a row), PYTHON=python3
#
# A list is an email and two columns in random order, with 1 % repeats, half of them in other case, and 0.1 % rejects.
# `.import` fills a table with a UNIQUE column with a cache of 1 GB; it compares bytes and checks nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --locked --release --quiet
rollbook=$PWD/target/release/rollbook
rounds=${ROUNDS:-3} python=${PYTHON:-python3}
folder=$(mktemp -d -p "${FOLDER:-/tmp}")
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export ROLLBOOK_LEDGER=rollbook.db

# make_list ROWS FIRST SEED: customers FIRST.. in an order of SEED's.
make_list() {
    awk -v rows="$1" -v first="$2" -v seed="$3" 'BEGIN {
        split("ann bob carla dimitri elena fritz gudrun hans ingrid katharina maria olga peter rosa tanja zoe", given)
        split("braun fischer hoffmann klein koch meyer mueller neumann richter schmidt schulz weber wolf", family)
        srand(seed)
        for (prime = rows; ; prime++) { for (d = 2; d * d <= prime && prime % d; d++); if (d * d > prime) break }
        step = int(prime * (0.3 + rand() / 3))
        print "no,email,joined"
        for (row = 0; row < rows; row++) {
            at = rand() < 0.01 ? int(rand() * (row + 1)) : row
            n = first + (at * step + seed) % prime
            mixed = n * 2654435761 % 4294967296
            email = given[mixed % 16 + 1] "." family[int(mixed / 16) % 13 + 1] n "@mail" int(mixed / 256) % 50 ".example.com"
            if (at != row && row % 2) email = toupper(email)
            if (rand() < 0.001) email = row % 2 ? "nobody" : "a b@example.com"
            printf "C-%08d,%s,2026-%02d-%02d\n", n, email, mixed % 12 + 1, mixed % 28 + 1
        }
    }'
}

# timed NAME COMMAND...: appends wall seconds, seconds of processor and peak memory to NAME.times.
timed() {
    local name=$1
    shift
    /usr/bin/time -q -f '%e %U %S %M' -o time.txt "$@" >out.txt 2>err.txt || { [[ $name == import ]] || { cat err.txt; exit 1; }; }
    awk '{ print $1, $2 + $3, $4 }' time.txt >>"$name.times"
}
column() { cut -d' ' -f"$2" "$1.times" | sort -n; }
median() { column "$1" "$2" | awk '{ s[NR] = $1 } END { print s[int((NR + 1) / 2)] }'; }
# row WHAT NAME [PEER]: one line of the table, with how many times as fast as its peer it is, by the clock and by the
# processor: where others use the machine, too, the latter is the one to believe.
row() {
    local peer=${3:-$2}
    awk -v what="$1" -v s="$(median "$2" 1)" -v c="$(median "$2" 2)" -v m="$(column "$2" 3 | tail -1)" \
        -v ps="$(median "$peer" 1)" -v pc="$(median "$peer" 2)" -v alone="$(test "$peer" = "$2" && echo 1)" 'BEGIN {
        ratio = alone || !s || !c ? "" : sprintf("%.2f, %.2f", ps / s, pc / c)
        printf "| %-40s | %8.2f s | %8.2f s | %-10s | %5d MB |\n", what, s, c, ratio, m / 1024 }'
}

load_first() { rm -f rollbook.db*; timed load "$rollbook" load list.csv; }
import() {
    rm -f import.db*
    timed import sqlite3 import.db -cmd 'PRAGMA cache_size=-1000000' \
        -cmd 'CREATE TABLE list (no TEXT, email TEXT UNIQUE, joined TEXT)' -cmd '.import --csv --skip 1 list.csv list' .exit
}
with_python() {
    rm -f python.db*
    timed python "$python" -c '
import csv, sqlite3
ledger = sqlite3.connect("python.db")
ledger.execute("PRAGMA cache_size=-1000000")
ledger.execute("CREATE TABLE list (no TEXT, email TEXT UNIQUE, joined TEXT)")
rows = csv.reader(open("list.csv")); next(rows)
ledger.executemany("INSERT OR IGNORE INTO list VALUES (?, ?, ?)", ((no, email.strip().lower(), joined) for no, email, joined in rows))
ledger.commit()'
}
with_duckdb() {
    rm -f duck.db*
    timed duckdb "$python" -c '
import duckdb
duck = duckdb.connect("duck.db")
duck.execute("CREATE TABLE list (no TEXT, email TEXT UNIQUE, joined TEXT)")
duck.execute("INSERT OR IGNORE INTO list SELECT no, lower(trim(email)), joined FROM read_csv(\"list.csv\", all_varchar = true)".replace(chr(34), chr(39)))'
}
export_rows() { timed export "$rollbook" export --format csv; }
columns="email, entry.state, reason, profile_id, entry.batch, batch_id, evidence, list.name, line, occurrences,
    coalesce(written, email), held, rung, entry.detail, resolved_at, sent_at, entry.settled_at"
shell_export() {
    timed shell_export sqlite3 -csv -header rollbook.db "SELECT $columns FROM entry JOIN list ON list.id = entry.list
        LEFT JOIN batch ON batch.id = entry.batch ORDER BY entry.id"
}

measure() {
    local rows=$1
    rm -f ./*.times ./*.csv
    make_list "$rows" 0 7 >list.csv
    make_list $((rows / 10)) "$((rows * 95 / 100))" 8 >later.csv
    make_list "$rows" 0 9 >shuffled.csv
    for _ in $(seq "$rounds"); do
        load_first
        import
    done
    for _ in $(seq "$rounds"); do
        export_rows
        shell_export
    done
    for _ in 1 2 3 4 5; do timed status "$rollbook" status; done
    entries=$(sqlite3 rollbook.db 'SELECT count(*) FROM entry')
    bytes=$(($(stat -c %s rollbook.db) / entries))
    timed later "$rollbook" load later.csv
    timed shuffled "$rollbook" load shuffled.csv
    timed known "$rollbook" load list.csv
    echo
    echo "| $rows rows | clock | processor | ratios | memory |"
    echo "|---|---|---|---|---|"
    row "first load" load import
    row "  sqlite3 .import" import
    if command -v "$python" >/dev/null; then with_python && row "  Python csv + sqlite3" python import; fi
    if "$python" -c 'import duckdb' 2>/dev/null; then with_duckdb && row "  DuckDB, its own format" duckdb import; fi
    row "a tenth as many again, half of them new" later
    row "the same rows in another order" shuffled
    row "the same list" known
    row "export as CSV" export shell_export
    row "  sqlite3 -csv" shell_export
    row "status" status
    echo
    echo "$bytes bytes of ledger an entry; $(sqlite3 rollbook.db "SELECT count(*) || ' lists, ' || sum(rows = entries + repeats + rejects)
        || ' of them add up' FROM list"); $("$rollbook" doctor | grep -c '^ok') checks of the ledger are good"
}

command -v "$python" >/dev/null || echo "skipped: no $python"
"$python" -c 'import duckdb' 2>/dev/null || echo "skipped: no duckdb for $python"
for rows in "${@:-1000000}"; do measure "$rows"; done
