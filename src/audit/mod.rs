//! What the ledger says, for those who ask afterwards. Only reads.

pub mod export;
pub mod lists;
pub mod story;
pub mod summary;

/// The version of everything that scripts read. Fields are added without a new one; it changes where one changes its
/// meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;
