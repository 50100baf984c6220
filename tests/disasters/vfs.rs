//! SQLite's way to the disks of `disk.rs`. All that is unsafe in the tests is here.
//!
//! The shim is the default VFS of this test binary, and finds the disk by the folder of the file's name; a file
//! anywhere else cannot be opened. Locks do nothing, since no two connections are open on a disk at once, and
//! the shim refuses a second one.

use super::disk::{Disk, Failure, StorageError};
use rusqlite::ffi;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, Weak};

static DISKS: Mutex<Option<HashMap<PathBuf, Mounted>>> = Mutex::new(None);

struct Mounted {
    disk: Weak<Disk>,
    /// Whether a connection to a database on it is open.
    in_use: bool,
}

/// Lets SQLite find a disk.
pub fn mount(disk: &Arc<Disk>) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    let mut disks = DISKS.lock().unwrap();
    let disks = disks.get_or_insert_default();
    disks.retain(|_, mounted| mounted.disk.strong_count() > 0);
    let mounted = Mounted {
        disk: Arc::downgrade(disk),
        in_use: false,
    };
    disks.insert(disk.folder().unwrap(), mounted);
}

fn find(name: &str) -> Option<Arc<Disk>> {
    let disks = DISKS.lock().unwrap();
    disks.as_ref()?.get(Path::new(name).parent()?)?.disk.upgrade()
}

/// Takes the one place for a connection, or gives it back; false where it is taken already.
fn occupy(name: &str, in_use: bool) -> bool {
    let mut disks = DISKS.lock().unwrap();
    let folder = Path::new(name).parent().unwrap();
    let Some(mounted) = disks.as_mut().and_then(|disks| disks.get_mut(folder)) else {
        return false;
    };
    std::mem::replace(&mut mounted.in_use, in_use) != in_use
}

/// An open file.
struct Handle {
    disk: Arc<Disk>,
    file: usize,
    name: String,
    is_database: bool,
    only_reads: bool,
    vanishes: bool,
    /// SQLite's own VFS syncs the folder at a journal's first sync.
    syncs_folder: bool,
}

/// What SQLite allocates for a file: its own part, and ours behind it.
#[repr(C)]
struct Slot {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// # Safety
///
/// `file` must have been opened by [`open`] and not have been closed, as SQLite promises for every method.
unsafe fn handle<'h>(file: *mut ffi::sqlite3_file) -> &'h mut Handle {
    // SAFETY: `open` has put a `Handle` there that `close` alone frees; SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<Slot>()).handle }
}

/// # Safety
///
/// `name` must be a C string, as SQLite promises for every path.
unsafe fn text<'n>(name: *const c_char) -> &'n str {
    // SAFETY: by the caller's promise. The tests use no other names than UTF-8.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap()
}

/// What SQLite is told; `device` is the code for a device that fails at this.
fn code(done: Result<(), Failure>, device: c_int) -> c_int {
    match done {
        Ok(()) => ffi::SQLITE_OK,
        Err(Failure::Error(StorageError::Full)) => ffi::SQLITE_FULL,
        Err(Failure::Error(StorageError::ReadOnly)) if device == ffi::SQLITE_IOERR_WRITE => {
            ffi::SQLITE_READONLY
        }
        Err(_) => device,
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; the box was made by `open`.
    let handle = unsafe { Box::from_raw((*file.cast::<Slot>()).handle) };
    if handle.vanishes {
        let _ = handle.disk.remove(&handle.name, false);
    }
    if handle.is_database {
        occupy(&handle.name, false);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: SQLite lends a buffer of `bytes` bytes; the file is open.
    let (handle, into) = unsafe {
        (
            handle(file),
            std::slice::from_raw_parts_mut(into.cast::<u8>(), bytes as usize),
        )
    };
    match handle.disk.read(handle.file, at as usize, into) {
        Ok(read) if read == into.len() => ffi::SQLITE_OK,
        Ok(read) => {
            into[read..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite lends a buffer of `bytes` bytes; the file is open.
    let (handle, from) = unsafe {
        (
            handle(file),
            std::slice::from_raw_parts(from.cast::<u8>(), bytes as usize),
        )
    };
    code(
        handle.disk.write(handle.file, at as usize, from),
        ffi::SQLITE_IOERR_WRITE,
    )
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    code(
        handle.disk.truncate(handle.file, length as usize),
        ffi::SQLITE_IOERR_TRUNCATE,
    )
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let synced = handle.disk.sync(handle.file, handle.syncs_folder);
    // As SQLite's own: after a sync that failed the folder is still to be synced.
    handle.syncs_folder &= synced.is_err();
    code(synced, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: the file is open, and SQLite lends the place for the answer.
    unsafe {
        let handle = handle(file);
        *size = handle.disk.size(handle.file) as i64;
    }
    ffi::SQLITE_OK
}

/// There is one connection at a time. One that only reads gets no lock for writing from a system, so that it does not
/// work the log off when it is closed: what stands there may not be on the disk.
unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    if handle.only_reads && level >= ffi::SQLITE_LOCK_RESERVED {
        return ffi::SQLITE_IOERR_LOCK;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn unlock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn is_reserved(_: *mut ffi::sqlite3_file, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite lends the place for the answer.
    unsafe { *answer = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4_096
}

/// What SQLite assumes of any disk: a torn write harms nothing beside itself.
unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn map_shared(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    answer: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open, and SQLite lends the place for the answer.
    unsafe {
        let handle = handle(file);
        let region = handle
            .disk
            .shared(&handle.name, region as usize, bytes as usize, extend != 0);
        *answer = region.unwrap_or(std::ptr::null_mut()).cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock_shared(_: *mut ffi::sqlite3_file, _: c_int, _: c_int, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn barrier(_: *mut ffi::sqlite3_file) {}

unsafe extern "C" fn unmap_shared(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open, and its connection, the only one, uses the memory no more.
    let handle = unsafe { handle(file) };
    handle.disk.unshare(&handle.name);
    ffi::SQLITE_OK
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(is_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(map_shared),
    xShmLock: Some(lock_shared),
    xShmBarrier: Some(barrier),
    xShmUnmap: Some(unmap_shared),
    xFetch: None,
    xUnfetch: None,
};

fn opened(name: Option<&str>, flags: c_int) -> Result<Handle, Failure> {
    let has = |flag: c_int| flags & flag != 0;
    let disk = match name {
        Some(name) => find(name).ok_or(Failure::Missing)?,
        None => Disk::scratch(),
    };
    let name = name.unwrap_or("scratch");
    let is_database = has(ffi::SQLITE_OPEN_MAIN_DB);
    let create = has(ffi::SQLITE_OPEN_CREATE);
    let file = disk.open(name, create)?;
    if is_database && !occupy(name, true) {
        return Err(Failure::Missing);
    }
    Ok(Handle {
        disk,
        file,
        name: name.to_owned(),
        is_database,
        only_reads: has(ffi::SQLITE_OPEN_READONLY),
        vanishes: has(ffi::SQLITE_OPEN_DELETEONCLOSE),
        syncs_folder: create && has(ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL),
    })
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite lends a C string or none, a slot of the size that we asked for, and maybe a place for flags.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let name = (!name.is_null()).then(|| text(name));
        match opened(name, flags) {
            Ok(handle) => (*file.cast::<Slot>()).handle = Box::into_raw(Box::new(handle)),
            Err(failure) => return code(Err(failure), ffi::SQLITE_CANTOPEN),
        }
        (*file).pMethods = &METHODS;
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, folder_too: c_int) -> c_int {
    // SAFETY: SQLite lends a C string.
    let name = unsafe { text(name) };
    let removed = find(name)
        .ok_or(Failure::Missing)
        .and_then(|disk| disk.remove(name, folder_too != 0));
    match removed {
        Err(Failure::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        removed => code(removed, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: SQLite lends a C string and the place for the answer.
    unsafe {
        let name = text(name);
        *answer = find(name).is_some_and(|disk| disk.holds(name)).into();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    answer: *mut c_char,
) -> c_int {
    // SAFETY: SQLite lends a C string and `room` bytes for the answer, which is the same string.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), answer, name.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, bytes: c_int, answer: *mut c_char) -> c_int {
    for at in 0..bytes {
        // SAFETY: SQLite lends `bytes` bytes.
        unsafe { *answer.add(at as usize) = (at * 37 + 11) as c_char };
    }
    bytes
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn julian_day(_: *mut ffi::sqlite3_vfs, answer: *mut f64) -> c_int {
    // SAFETY: SQLite lends the place for the answer.
    unsafe { *answer = 2_461_000.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

fn register() {
    let vfs = ffi::sqlite3_vfs {
        iVersion: 1,
        szOsFile: size_of::<Slot>() as c_int,
        mxPathname: 512,
        pNext: std::ptr::null_mut(),
        zName: c"proof".as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(julian_day),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    // SAFETY: the VFS is never freed, and no connection has been opened before the first disk was mounted.
    let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1) };
    assert_eq!(registered, ffi::SQLITE_OK);
}
