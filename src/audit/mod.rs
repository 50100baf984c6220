//! What the ledger says, for those who ask afterwards. Only reads.

pub mod export;
pub mod lists;
pub mod summary;
