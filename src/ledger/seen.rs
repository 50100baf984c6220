//! Which emails were seen while no unique index stands.
//!
//! 16 bytes an email, 40 at worst while the set grows. A hash alone proves nothing: whoever finds an entry here
//! compares the emails themselves, and an email that shares its hash with another one goes into a map of its own.

use super::error::LedgerError;
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Emails by hash, each with the entry that it belongs to.
#[derive(Default)]
pub(super) struct SeenEmails {
    /// Keyed anew in each process, so that no list can be made whose emails all collide.
    hasher: RandomState,
    first: HashMap<u64, u32, PassThrough>,
    /// Emails whose hash belongs to another one: practically none.
    collided: HashMap<String, i64>,
}

impl SeenEmails {
    /// The emails of all entries that the ledger has.
    pub(super) fn of(connection: &Connection) -> Result<Self, LedgerError> {
        let mut seen = Self::default();
        let mut query = connection.prepare("SELECT id, email FROM entry ORDER BY id")?;
        let mut compare = connection.prepare("SELECT email = ?2 FROM entry WHERE id = ?1")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (id, email) = (
                row.get(0)?,
                row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
            );
            let is_email_of = |known: i64| compare.query_row(params![known, email], |row| row.get(0));
            seen.first_or_insert(seen.hash(email), email, id, is_email_of)?;
        }
        drop(rows);
        Ok(seen)
    }

    /// An email's hash, to be given to [`SeenEmails::first_or_insert`].
    pub(super) fn hash(&self, email: &str) -> u64 {
        self.hasher.hash_one(email)
    }

    /// The entry that has `email` already, or notes that `id` does from now on.
    ///
    /// `is_email_of` compares `email` with that of an entry, which is what makes sure.
    pub(super) fn first_or_insert<E>(
        &mut self,
        hash: u64,
        email: &str,
        id: i64,
        is_email_of: impl FnOnce(i64) -> Result<bool, E>,
    ) -> Result<Option<i64>, E> {
        let short = u32::try_from(id).expect("BUG: more entries than a load can number");
        let known = match self.first.entry(hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(short);
                return Ok(None);
            }
            Entry::Occupied(known) => i64::from(*known.get()),
        };
        if is_email_of(known)? {
            return Ok(Some(known));
        }
        if let Some(known) = self.collided.get(email) {
            return Ok(Some(*known));
        }
        self.collided.insert(email.to_owned(), id);
        Ok(None)
    }
}

/// A hasher for keys that are hashes already.
#[derive(Clone, Copy, Default)]
struct PassThrough;

struct PassThroughHasher(u64);

impl BuildHasher for PassThrough {
    type Hasher = PassThroughHasher;

    fn build_hasher(&self) -> PassThroughHasher {
        PassThroughHasher(0)
    }
}

impl Hasher for PassThroughHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("BUG: only u64 keys are hashed here");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_of_one_hash_stay_two_entries() {
        let mut seen = SeenEmails::default();
        let mut ask = |email: &str, id| {
            let is_email_of = |known| Ok::<_, ()>(known == 1 && email == "a");
            seen.first_or_insert(7, email, id, is_email_of).unwrap()
        };
        assert_eq!(ask("a", 1), None);
        assert_eq!(ask("b", 2), None);
        assert_eq!(ask("b", 3), Some(2));
        assert_eq!(ask("a", 3), Some(1));
    }
}
