//! rollbook: assign statuses to customer profiles in bulk.
#![forbid(unsafe_code)]
pub mod api;
pub mod audit;
pub mod cli;
pub mod input;
pub mod ledger;
pub mod model;
pub mod runner;
pub mod sandbox;
pub mod ui;
