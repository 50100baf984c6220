//! Any bytes, taken for a list whose column somebody names: the first line is the name or number.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::input::{ColumnChoice, List, Source};

fuzz_target!(|text: &str| {
    let Some((name, list)) = text.split_once('\n') else { return };
    let Ok(choice) = name.parse::<ColumnChoice>() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let path = folder.path().join("list");
    std::fs::write(&path, list).expect("written");
    match List::open(&Source::File(path), &choice.into()) {
        Err(error) => assert!(!error.hint().is_empty() && !error.to_string().contains("BUG:")),
        Ok(mut list) => while let Ok(Some(_)) = list.next_row() {},
    }
});
