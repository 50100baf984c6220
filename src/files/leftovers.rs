//! What a process that was killed has left half-written.
//!
//! Such a file is hidden, and its name says who began it: `.audit.csv.0f3c91d2-4711.partial`, where `0f3c91d2` is the
//! owner and `4711` the process. Earlier versions left the owner out.

use super::make::remove;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const ENDING: &str = ".partial";
/// A name may have 255 bytes; the rest is for what stands around it.
const NAME_BYTES: usize = 180;

/// The name under which this process writes a file that is not complete.
pub(super) fn partial_name(path: &Path, owner: &str) -> PathBuf {
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let mut hidden = b".".to_vec();
    hidden.extend_from_slice(&name[..name.len().min(NAME_BYTES)]);
    hidden.extend_from_slice(format!(".{owner}-{}{ENDING}", std::process::id()).as_bytes());
    path.with_file_name(OsString::from_vec(hidden))
}

/// The owner, where it is known, and the process that a name tells of.
fn parse(name: &OsStr) -> Option<(Option<&str>, i32)> {
    let name = name
        .as_bytes()
        .strip_prefix(b".")?
        .strip_suffix(ENDING.as_bytes())?;
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0)?;
    let who = std::str::from_utf8(&name[dot + 1..]).ok()?;
    let (owner, process) = match who.rsplit_once('-') {
        Some(("", _)) => return None,
        Some((owner, process)) => (Some(owner), process),
        None => (None, who),
    };
    let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
    Some((owner, process.parse().ok().filter(|_| is_number)?))
}

/// The owner of a half-written file, as its name tells it.
pub(super) fn owner_of(name: &OsStr) -> Option<&str> {
    parse(name)?.0
}

/// What an owner's processes have left half-written in a folder; each begins with one of `heads`, or with nothing.
/// A file whose owner is not known is one of them.
pub fn leftovers(folder: &Path, owner: &str, heads: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let is_leftover = |path: &PathBuf| {
        let name = path.file_name().and_then(parse);
        name.is_some_and(|(of, process)| of.is_none_or(|of| of == owner) && !lives(process))
            && begins_with(path, heads).unwrap_or(false)
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_leftover)
        .collect();
    found.sort();
    found
}

/// Removes them, and returns how many there were.
pub fn remove_leftovers(folder: &Path, owner: &str, heads: &[&str]) -> io::Result<usize> {
    let found = leftovers(folder, owner, heads);
    found.iter().try_for_each(|path| remove(path))?;
    Ok(found.len())
}

/// Whether a plain file that nobody writes begins as it should.
fn begins_with(path: &Path, heads: &[&str]) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let file = File::open(path)?;
    if file.try_lock_shared().is_err() {
        return Ok(false);
    }
    let mut head = Vec::new();
    file.take(64).read_to_end(&mut head)?;
    Ok(heads.iter().any(|text| {
        let length = head.len().min(text.len());
        head[..length] == text.as_bytes()[..length]
    }))
}

/// Whether a process may still be at work.
fn lives(process: i32) -> bool {
    let Some(process) = rustix::process::Pid::from_raw(process) else {
        return false;
    };
    !matches!(
        rustix::process::test_kill_process(process),
        Err(rustix::io::Errno::SRCH)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has a number as high.
    const GONE: &str = "2147483646";

    #[test]
    fn a_name_tells_whose_it_is() {
        let path = partial_name(Path::new("out/audit.csv"), "0f3c91d2");
        let process = std::process::id();
        assert_eq!(
            path,
            Path::new(&format!("out/.audit.csv.0f3c91d2-{process}.partial"))
        );
        assert_eq!(
            parse(path.file_name().unwrap()),
            Some((Some("0f3c91d2"), process as i32))
        );
        assert_eq!(parse(OsStr::new(".audit.csv.4711.partial")), Some((None, 4711)));
        for other in [
            "audit.csv.4711.partial",
            ".4711.partial",
            ".a.x.partial",
            ".a.-1.partial",
            ".a.7",
        ] {
            assert_eq!(parse(OsStr::new(other)), None, "{other}");
        }
        let long = partial_name(Path::new(&"x".repeat(255)), "me");
        assert!(long.as_os_str().len() < 255);
    }

    #[test]
    fn only_what_is_ours_and_nobody_writes_any_more_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            &format!(".a.csv.me-{GONE}.partial"),
            "email,state\nann@example.com,con",
        );
        write(&format!(".b.csv.{GONE}.partial"), "");
        write(&format!(".c.csv.other-{GONE}.partial"), "email,state\n");
        write(
            &format!(".d.csv.me-{}.partial", std::process::id()),
            "email,state\n",
        );
        write(&format!(".e.csv.{GONE}.partial"), "my own notes");
        write("f.csv.partial", "email,state\n");
        assert_eq!(leftovers(folder.path(), "me", &["email,"]).len(), 2);
        assert_eq!(remove_leftovers(folder.path(), "me", &["email,"]).unwrap(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
        assert_eq!(remove_leftovers(folder.path(), "me", &["email,"]).unwrap(), 0);
    }
}
