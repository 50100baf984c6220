//! Where a path leads: to a name that is free, to a plain file, or to something that is written through.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// As many links as the system follows.
const LINKS: usize = 40;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Target {
    /// To a name that nothing has.
    New(PathBuf),
    /// To a plain file, here without links.
    File(PathBuf),
    /// To a device or a pipe, or to a file that a process has open: it keeps its node.
    Through(PathBuf),
    /// To what this process has open under this number, such as `/dev/stdout`: it is written on where it stands.
    Open(PathBuf, u32),
}

/// Why a path leads nowhere that a file can be written to.
#[derive(Debug)]
pub(super) enum NoTarget {
    Folder,
    /// A disk as such: writing there would destroy all that is on it.
    Disk,
    Failed(io::Error),
}

impl From<io::Error> for NoTarget {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Target {
    /// Finds out where a path leads.
    pub(super) fn of(path: &Path) -> Result<Self, NoTarget> {
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => Err(NoTarget::Folder),
            Ok(there) if there.file_type().is_block_device() => Err(NoTarget::Disk),
            Ok(there) => Ok(match last_of(path)? {
                Last::Open(number) => Self::Open(path.to_owned(), number),
                Last::Name(path) if there.is_file() => Self::File(path),
                Last::Name(_) | Last::OpenElsewhere => Self::Through(path.to_owned()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match last_of(path)? {
                Last::Name(path) => Ok(Self::New(path)),
                Last::Open(_) | Last::OpenElsewhere => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// A path to what it leads to.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::New(path) | Self::File(path) | Self::Through(path) | Self::Open(path, _) => path,
        }
    }
}

enum Last {
    /// In a folder without links, and no link itself.
    Name(PathBuf),
    /// What this process has open under this number.
    Open(u32),
    /// What another process has open.
    OpenElsewhere,
}

/// Follows links to the last name, which need not be there.
fn last_of(path: &Path) -> io::Result<Last> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?
            .to_owned();
        let folder = folder_of(&path).canonicalize()?;
        if folder.starts_with("/proc") && folder.ends_with("fd") {
            let is_ours = folder.starts_with(format!("/proc/{}", std::process::id()));
            let number = name.to_str().and_then(|name| name.parse().ok());
            return Ok(number.filter(|_| is_ours).map_or(Last::OpenElsewhere, Last::Open));
        }
        path = folder.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(link) if link.is_symlink() => {
                check_link(&folder, &link)?;
                path = folder.join(std::fs::read_link(&path)?);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(Last::Name(path)),
        }
    }
    Err(io::Error::from(rustix::io::Errno::LOOP))
}

/// In a folder where anybody can put names, such as `/tmp`, a link of another user leads where that user wants. The
/// system refuses to follow it; so must whoever follows links without its help.
fn check_link(folder: &Path, link: &Metadata) -> io::Result<()> {
    let there = std::fs::metadata(folder)?;
    let is_shared = there.mode() & OTHERS_WRITE != 0 && there.mode() & STICKY != 0;
    let us = rustix::process::geteuid().as_raw();
    if is_shared && link.uid() != us && link.uid() != there.uid() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(())
}

/// The folder that a path lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
