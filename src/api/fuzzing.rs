//! The readers of foreign answers, for the fuzz targets in `fuzz/`. In no other build is this there.

#![allow(missing_docs, reason = "each function is the one of its name in answers.rs")]

use super::base_url::BaseUrl;
use super::foreign::Foreign;
use super::{BatchReport, Holding, ListedBatch, Page, StatusDefinition, answers, batches as listed};
use crate::model::ids::{BatchId, ProfileId};
use crate::model::lookup::Found;
use crate::model::outcome::Complaint;
use std::time::Duration;

fn foreign() -> Foreign {
    Foreign::new(&secrecy::SecretString::from("a-token-of-nobody"))
}

pub fn statuses(body: &[u8], page: u32) -> Result<Option<Page<StatusDefinition>>, String> {
    answers::statuses(body, page, &foreign())
}

pub fn profiles(body: &[u8], page: u32) -> Result<Option<Page<Found>>, String> {
    answers::profiles(body, page, &foreign())
}

pub fn holding(body: &[u8], asked: &ProfileId) -> Result<Option<Holding>, String> {
    answers::holding(body, asked, &foreign())
}

pub fn queued(body: &[u8]) -> Result<BatchId, String> {
    listed::queued(body, &foreign())
}

pub fn batches(body: &[u8], page: u32) -> Result<Option<Page<ListedBatch>>, String> {
    listed::batches(body, page, &foreign())
}

pub fn batch(body: &[u8]) -> Result<BatchReport, String> {
    listed::batch(body, &foreign())
}

pub fn complaint(body: &[u8]) -> Complaint {
    answers::complaint(body, &foreign())
}

pub fn retry_after(value: &str, server_date: Option<&str>) -> Option<Duration> {
    headers::retry_after(value, server_date)
}

/// The URL of a path below a base, as [`BaseUrl::join`] makes it.
pub fn join(base: &BaseUrl, steps: &[&str]) -> String {
    base.join(steps).to_string()
}
