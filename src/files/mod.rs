//! Every file that the program makes, replaces or removes, and the rule whose it is.
//!
//! A file belongs to a person unless the program can show that it made it. So:
//!
//! - A new file takes a name that nothing has, and appears complete ([`Output`]).
//! - A file that is there is replaced only where a person says so (`--force`), and never where it is a ledger or one of
//!   its companions, a list that was loaded, or what holds a token ([`Keep`], `kind.rs`).
//! - A log is added to: a new or empty file, or one that rollbook began ([`append`]).
//! - A device or a pipe is written through, and a link is followed: the node stays (`target.rs`).
//! - Only what was made here is removed: a file that was left half-written by a process that is gone ([`leftovers`]),
//!   and what a demo made, as its marker says ([`Marker`]).
//!
//! The functions of `std::fs` that make, replace or remove files stand nowhere else: `clippy.toml` forbids them.

mod append;
mod keep;
mod kind;
mod leftovers;
mod make;
mod marker;
mod output;
mod target;

pub use append::append;
pub use keep::{Keep, LEDGER_COMPANIONS, companion, is_beside_a_ledger};
pub use kind::{Kind, LEDGER_APPLICATION_ID, kind_of};
pub use leftovers::{leftovers, remove_leftovers};
pub use make::{
    make_folder, make_new, make_private_folder, not_ours, open_or_make, remove_ledger, remove_record,
    sync_folder,
};
pub use marker::Marker;
pub use output::{Output, OutputError};
pub use target::folder_of;
