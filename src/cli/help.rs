//! What help begins and ends with: examples to copy, and exit codes.

pub const ALL: &str = "\
Examples:
  rollbook demo                                    see it all on an embedded tenant
  export OMNEO_TENANT=acme OMNEO_TOKEN=...
  rollbook assign --status vip --dry-run list.csv  look everybody up, send nothing
  rollbook resume --limit 10                       send to the first ten, then check them
  rollbook resume                                  send the rest; goes on after anything
  rollbook export -o audit.csv                     what became of every line";

pub const DEMO: &str = "\
Examples:
  rollbook demo                                half a minute, in the folder rollbook-demo
  rollbook demo --folder /tmp/tryout";

pub const LOAD: &str = "\
Examples:
  rollbook load customers.csv                  take a list in, contact nobody
  rollbook load --column \"Work email\" crm.csv.gz
  rollbook load --ledger vip.db a.csv b.csv    several lists, another ledger";

pub const LISTS: &str = "\
Examples:
  rollbook lists                               each list: rows, entries, how it was read
  rollbook lists --json | jq -r .list";

pub const UNLOAD: &str = "\
Examples:
  rollbook lists                               the lists and their numbers
  rollbook unload wrong.csv                    take it out, as long as nothing of it was sent";

pub const PLAN: &str = "\
Examples:
  rollbook plan --status vip --rate 20/s customers.csv  before anything is begun; keeps nothing
  rollbook plan                                         what remains of the ledger's job";

pub const ASSIGN: &str = "\
Examples:
  rollbook assign --status vip customers.csv             look up, ask, send, check
  rollbook assign --status vip --limit 10 customers.csv  a pilot: ten profiles, all checked
  zcat *.csv.gz | rollbook assign --status vip --yes -   a list from stdin";

pub const REMOVE: &str = "\
Examples:
  rollbook remove --ledger undo.db --status vip customers.csv  every profile listed there loses vip
  rollbook remove --ledger undo.db --status vip --dry-run customers.csv   how many would lose it?";

pub const RESUME: &str = "\
Examples:
  rollbook resume                              go on; sends nothing twice
  rollbook resume --limit 10                   a pilot, after a dry run
  rollbook resume --retry failed               also try again what failed before it was accepted";

pub const STATUS: &str = "\
Examples:
  rollbook status                              how the job stands, and a run beside it
  rollbook status --json | jq .states          for scripts: docs/scripting.md";

pub const SHOW: &str = "\
Examples:
  rollbook show ann@example.com                which list, which batch, which answer, on what evidence
  rollbook show --line customers.csv:12        whoever stands in that line
  rollbook show --now ann@example.com          asks the tenant as well what is true now
  rollbook show --batch 7                      one batch, with each request and its answer";

pub const RUNS: &str = "\
Examples:
  rollbook runs                                when, how long, how it ended, with which options
  rollbook runs --json | jq .options";

pub const VERIFY: &str = "\
Examples:
  rollbook verify                              300 confirmed profiles at random; exit 3 if any has drifted
  rollbook verify --all                        every one
  rollbook verify --since                      the same ones as the last time, and what changed since";

pub const EXPORT: &str = "\
Examples:
  rollbook export -o audit.csv                 what became of every entry
  rollbook export --rows rejected              rows without a usable email
  rollbook export --format jsonl -o all.jsonl --rows all";

pub const BATCHES: &str = "\
Examples:
  rollbook batches                             each batch: state, members, what went wrong
  rollbook batches 7                           the profiles in batch 7
  rollbook batches --json | jq 'select(.state == \"held\")'";

pub const SETTLE: &str = "\
Examples:
  rollbook batches                             which await a ruling, and why
  rollbook settle --batch 7 --as absent --by \"Ann Lee\" --because \"not in Omneo's log, ticket 4711\"
  rollbook resume                              looks at its profiles once more, and sends it again
  rollbook settle --batch 7 --as sent --by \"Ann Lee\" --because \"Omneo support confirmed it\"
  rollbook settle --tenant-batch 4e1c --as over --by \"Ann Lee\" --because \"it hangs, ticket 4712\"";

pub const STATUSES: &str = "\
Examples:
  rollbook statuses                            the handles that --status takes
  rollbook statuses --tenant acme --json";

pub const DOCTOR: &str = "\
Examples:
  rollbook doctor                              is the ledger sound, does the token work?
  rollbook doctor -q                           says only what is wrong";

pub const SANDBOX: &str = "\
Examples:
  rollbook sandbox --list customers.csv        20,000 profiles on http://127.0.0.1:8787, and a list
  rollbook sandbox --rate-limit 600/min --latency 80ms
  rollbook sandbox --lose-answers 10 --state tenant.jsonl";

pub const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 unexpected   2 usage   3 done, but something failed or awaits a ruling
  4 stopped before the end, `rollbook resume` goes on
  5 refused before anything was sent   6 ledger locked, damaged, newer or of another job";
