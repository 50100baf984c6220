//! What a person chose for the job, and what each run was given.

use super::error::LedgerError;
use super::load::Loading;
use super::open::Ledger;
use super::read::Reader;
use super::time::now_ms;
use crate::model::chosen::{Chosen, RunOptions};
use crate::model::doubt::InDoubt;
use crate::model::sample::Confirm;
use rusqlite::{Connection, OptionalExtension, Row, params};

impl Ledger {
    /// What was chosen for the job, where anything was.
    pub fn chosen(&self) -> Result<Option<Chosen>, LedgerError> {
        chosen(&self.connection)
    }

    /// Records the options of the run that begins with [`Ledger::into_writer`].
    pub fn set_options(&mut self, options: &RunOptions) {
        self.options = Some(to_json(options));
    }
}

impl Reader {
    /// What was chosen for the job, where anything was.
    pub fn chosen(&self) -> Result<Option<Chosen>, LedgerError> {
        chosen(&self.connection)
    }

    /// Where runs of this ledger read their token from.
    pub fn token_files(&self) -> Result<Vec<String>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT DISTINCT json_extract(options, '$.token_file') AS path FROM run
             WHERE json_valid(options) AND path IS NOT NULL",
        )?;
        let paths = query.query_map([], |row| row.get(0))?;
        Ok(paths.collect::<Result<_, _>>()?)
    }
}

impl Loading<'_> {
    /// Keeps what was chosen for the job together with the job.
    pub fn choose(&self, chosen: &Chosen) -> Result<(), LedgerError> {
        self.connection.execute(
            "INSERT OR REPLACE INTO chosen (only_row, in_doubt, rate, reserve, confirm, batch_size, chosen_at)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                chosen.in_doubt.as_str(),
                chosen.rate.to_string(),
                chosen.reserve.to_string(),
                chosen.confirm.as_str(),
                chosen.batch_size,
                now_ms()
            ],
        )?;
        Ok(())
    }
}

fn chosen(connection: &Connection) -> Result<Option<Chosen>, LedgerError> {
    let sql = "SELECT in_doubt, rate, reserve, confirm, batch_size FROM chosen";
    let row = connection
        .query_row(sql, [], |row| Ok((words(row)?, row.get(4)?)))
        .optional()?;
    let Some(([in_doubt, rate, reserve, confirm], batch_size)) = row else {
        return Ok(None);
    };
    let damaged = |word: &str| LedgerError::Damaged(format!("the option `{word}`"));
    Ok(Some(Chosen {
        in_doubt: InDoubt::from_word(&in_doubt).ok_or_else(|| damaged(&in_doubt))?,
        rate: rate.parse().map_err(|_| damaged(&rate))?,
        reserve: reserve.parse().map_err(|_| damaged(&reserve))?,
        confirm: Confirm::from_word(&confirm).ok_or_else(|| damaged(&confirm))?,
        batch_size,
    }))
}

fn words(row: &Row<'_>) -> rusqlite::Result<[String; 4]> {
    Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
}

fn to_json(options: &RunOptions) -> String {
    let chosen = &options.chosen;
    serde_json::json!({
        "in_doubt": chosen.in_doubt.as_str(),
        "rate": chosen.rate.to_string(),
        "reserve": chosen.reserve.to_string(),
        "confirm": chosen.confirm.as_str(),
        "batch_size": chosen.batch_size,
        "concurrency": options.concurrency,
        "resolve": options.resolve.as_str(),
        "settle_deadline_seconds": options.settle_deadline.as_secs_f64(),
        "dry_run": options.dry_run,
        "limit": options.limit,
        "until_ms": options.until_ms,
        "max_requests": options.max_requests,
        "adopt": options.adopt,
        "lookup_age_seconds": options.lookup_age.as_secs_f64(),
        "reuse": options.reuse,
        "max_age_seconds": options.max_age.map(|age| age.as_secs_f64()),
        "reuse_not_found": options.reuse_not_found,
        "retry": options.retry.then_some("failed"),
        "by": options.by,
        "yes": options.yes,
        "all_lists": options.all_lists,
        "token_file": options.token_file,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::migrate::{MIGRATIONS, migrate};

    #[test]
    fn a_choice_is_read_back_as_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut ledger = Ledger::create(&path, "assign").unwrap();
        assert_eq!(ledger.chosen().unwrap(), None);
        for choice in [
            Chosen {
                in_doubt: InDoubt::Hold,
                rate: "5/s,200/min".parse().unwrap(),
                reserve: "20%".parse().unwrap(),
                confirm: Confirm::None,
                batch_size: 7,
            },
            Chosen::default(),
        ] {
            let loading = ledger.begin_load().unwrap();
            loading.choose(&choice).unwrap();
            loading.commit().unwrap();
            assert_eq!(ledger.chosen().unwrap(), Some(choice));
            assert_eq!(Reader::open(&path).unwrap().chosen().unwrap(), Some(choice));
        }
    }

    #[test]
    fn a_ledger_from_before_has_chosen_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        let ours = |sql: &&str| sql.contains("CREATE TABLE chosen");
        let before = MIGRATIONS.iter().position(ours).unwrap();
        migrate(&mut connection, 0, &MIGRATIONS[..before]).unwrap();
        migrate(&mut connection, before as i64, MIGRATIONS).unwrap();
        assert_eq!(chosen(&connection).unwrap(), None);
    }
}
