//! A ledger with damage: where each four bytes say a place and a byte, and the first two how much is cut off.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::audit::export::{Format, Rows, export};
use rollbook::ledger::{Ledger, LedgerError, ListIdentity, Reader};
use std::path::Path;
use std::sync::LazyLock;

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let path = folder.path().join("a.db");
    let mut ledger = Ledger::create(&path, "load").expect("made");
    let mut loading = ledger.begin_load().expect("begun");
    loading.begin_list("a.csv", "CSV").expect("begun");
    for line in 1..=40 {
        let email = format!("p{line}@example.com");
        loading.email(line, &email, &email).expect("loaded");
    }
    let identity = ListIdentity { digest: [1; 32], column: 1, ..ListIdentity::default() };
    loading.end_list(&identity).expect("ended");
    loading.commit().expect("kept");
    drop(ledger);
    std::fs::read(path).expect("read")
});

fuzz_target!(|damage: &[u8]| {
    let mut bytes = SOUND.clone();
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let Some((cut, flips)) = damage.split_at_checked(2) else { return };
    for flip in flips.chunks_exact(4) {
        let at = number(&flip[..3]) % bytes.len();
        bytes[at] ^= flip[3];
    }
    bytes.truncate(bytes.len() - number(cut) % bytes.len());
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let path = folder.path().join("a.db");
    std::fs::write(&path, &bytes).expect("written");
    let _ = read(&path);
    if let Ok(Some(ledger)) = Ledger::open(&path, "load") {
        let _ = (ledger.job(), ledger.counts(), ledger.copied());
    }
});

fn read(path: &Path) -> Result<(), LedgerError> {
    let reader = Reader::open(path)?;
    let _ = (reader.job(), reader.counts(), reader.lists(), reader.batches(), reader.sampled());
    let _ = (reader.batch_counts(), reader.contradictions_found(), reader.structural_damage());
    let _ = export(&reader, Format::Csv, Rows::All, std::io::sink());
    let _ = export(&reader, Format::JsonLines, Rows::All, std::io::sink());
    Ok(())
}
