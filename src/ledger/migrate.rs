//! From an empty file, or an older ledger, to the schema that this program writes.

use super::error::LedgerError;
use rusqlite::Connection;
use std::path::Path;

pub use crate::files::LEDGER_APPLICATION_ID as APPLICATION_ID;

/// All migrations in order; a ledger's `user_version` says how many it has seen.
pub const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_ledger.sql"),
    include_str!("../../migrations/0002_doubts.sql"),
    include_str!("../../migrations/0003_scan.sql"),
    include_str!("../../migrations/0004_reuse.sql"),
    include_str!("../../migrations/0005_lists.sql"),
    include_str!("../../migrations/0006_evidence.sql"),
    include_str!("../../migrations/0007_identity.sql"),
    include_str!("../../migrations/0008_chosen.sql"),
    include_str!("../../migrations/0009_retry.sql"),
    include_str!("../../migrations/0010_report.sql"),
    include_str!("../../migrations/0011_over.sql"),
    include_str!("../../migrations/0012_verify.sql"),
    include_str!("../../migrations/0013_parts.sql"),
];

/// The version that this program writes.
pub fn latest() -> i64 {
    MIGRATIONS.len() as i64
}

/// The `user_version` of a file that is a ledger, or the refusal of one that is not or is too new.
pub fn version(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION_ID {
        return Err(LedgerError::NotALedger(path.to_owned()));
    }
    let found = number("user_version")?;
    if found > latest() {
        return Err(LedgerError::Newer {
            path: path.to_owned(),
            found,
            known: latest(),
        });
    }
    Ok(found)
}

/// Applies, in one transaction, the migrations that come after version `from`.
pub fn migrate(connection: &mut Connection, from: i64, migrations: &[&str]) -> Result<(), LedgerError> {
    let seen = usize::try_from(from).map_err(|_| LedgerError::Damaged("a negative version".into()))?;
    let Some(pending) = migrations.get(seen..).filter(|pending| !pending.is_empty()) else {
        return Ok(());
    };
    let transaction = connection.transaction()?;
    for migration in pending {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", migrations.len() as i64)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let mut query = connection
            .prepare("SELECT name FROM sqlite_schema ORDER BY name")
            .unwrap();
        let names = query.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    #[test]
    fn a_fresh_file_gets_everything_and_a_second_time_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0, MIGRATIONS).unwrap();
        let first = tables(&connection);
        assert!(first.contains(&"entry".to_string()));
        let version = version(&connection, Path::new("x.db")).unwrap();
        assert_eq!(version, latest());
        migrate(&mut connection, version, MIGRATIONS).unwrap();
        assert_eq!(tables(&connection), first);
    }

    #[test]
    fn steps_add_up_and_a_failing_step_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let one = "CREATE TABLE a (x INTEGER) STRICT;";
        let two = "CREATE TABLE b (x INTEGER) STRICT;";
        migrate(&mut connection, 0, &[one]).unwrap();
        let failing = [one, two, "CREATE TABLE a (y INTEGER);"];
        migrate(&mut connection, 1, &failing).unwrap_err();
        assert_eq!(tables(&connection), ["a"]);
        migrate(&mut connection, 1, &[one, two]).unwrap();
        assert_eq!(tables(&connection), ["a", "b"]);
    }

    #[test]
    fn lists_of_older_ledgers_keep_how_they_were_read() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0, &MIGRATIONS[..4]).unwrap();
        for (id, layout) in [
            "CSV; column 2, email",
            "CSV, semicolons, gzip; column 1, no header",
            "one email a line",
            "TSV, UTF-16; column 3, E-Mail",
        ]
        .iter()
        .enumerate()
        {
            connection
                .execute(
                    "INSERT INTO list VALUES (?1, 'a.csv', ?2, 1, randomblob(32), 3, 1, 1, 1, 7)",
                    rusqlite::params![id as i64 + 1, layout],
                )
                .unwrap();
        }
        migrate(&mut connection, 4, MIGRATIONS).unwrap();
        let mut query = connection
            .prepare("SELECT header, delimiter FROM list ORDER BY id")
            .unwrap();
        let read = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let read: Vec<(bool, String)> = read.map(Result::unwrap).collect();
        let expected = [(true, ","), (false, ";"), (false, ","), (true, "\t")];
        assert_eq!(
            read,
            expected.map(|(header, delimiter)| (header, delimiter.to_owned()))
        );
    }

    #[test]
    fn newer_and_foreign_files_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        assert!(matches!(
            version(&connection, path),
            Err(LedgerError::NotALedger(_))
        ));
        migrate(&mut connection, 0, MIGRATIONS).unwrap();
        connection
            .pragma_update(None, "user_version", latest() + 1)
            .unwrap();
        assert!(matches!(
            version(&connection, path),
            Err(LedgerError::Newer { .. })
        ));
    }
}
