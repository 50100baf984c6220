//! What a tenant supports beyond single look-ups, found out before a run begins: a dozen requests that may save a
//! million.
//!
//! Nothing of it is documented well enough to be relied on, so every question has an answer that is known from single
//! look-ups, and one answer that disagrees is enough to do without. Nothing that is found out here ends a run: a tenant
//! that supports nothing is asked for one email at a time.

use super::context::{GaveUp, Halt, NOBODY, ask_patiently};
use super::preflight::{Objection, UNREACHABLE_LIMIT, objection};
use crate::api::pacing::Class;
use crate::api::{Paced, Page, Slice, Tenant, Wanted};
use crate::model::email::Email;
use crate::model::grouping::{cut, is_plain, most_on, sort_out};
use crate::model::ids::{Job, ProfileId};
use crate::model::lookup::{Found, Verdict, bearers, judge};
use crate::model::walk::{GAIN, SMALLEST_PAGE};
use crate::model::way::{Sample, Supported, Survey};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Profiles on a page that are asked for first. The tenant may grant fewer.
const LARGEST_PAGE: u32 = 500;
/// Emails of the tenant's own profiles that are asked for alone and together.
const PROBES: usize = 4;

/// Below so many emails nothing that could be found out would pay for itself.
pub const WORTHWHILE_EMAILS: u64 = 50;

/// What was found out.
#[derive(Clone, Debug, Default)]
pub struct Surveyed {
    /// What is supported.
    pub survey: Survey,
    /// Profiles on a page that the tenant grants.
    pub page_size: Option<u32>,
}

/// How many emails of a list are asked for to get an idea of it, before so many are looked up. A run that may make
/// few requests has none to spare for that.
///
/// Whoever no answer holds costs a request, so the forecast is as good as the idea of how many that are: with 4 % of
/// them it is off by a tenth for 10,000 emails, and by half as much from 50,000 on (one standard deviation).
pub fn sample_size(emails: u64, requests: Option<u64>) -> usize {
    let affordable = requests.map_or(u64::MAX, |requests| requests / 50);
    let groups = (emails / 1_000).clamp(1, 50).min(affordable) as usize;
    groups * most_on(Slice::USUAL_SIZE as usize)
}

/// Finds out what the tenant supports. `sample` are emails of the list, chosen at random.
pub async fn survey<T: Tenant>(
    tenant: &Paced<T>,
    job: &Job,
    sample: &[Email],
) -> Result<Surveyed, Objection> {
    let (page, page_size) = match largest_page(tenant).await? {
        Ok(found) => found,
        Err(why) => {
            let survey = Survey {
                many: Supported::No(why.clone()),
                scan: Supported::No(why),
                ..Survey::default()
            };
            return Ok(Surveyed {
                survey,
                page_size: None,
            });
        }
    };
    let probed = probe(tenant, &page.items, page_size).await?;
    let many = match probed.against_many {
        None => Supported::Yes(most_on(page_size as usize)),
        Some(why) => Supported::No(why),
    };
    let scan = match probed.folds_case {
        true => scan(&page, page_size),
        false => Supported::No("letter case matters to the tenant's filter, or nobody can tell".into()),
    };
    let sample = match &many {
        Supported::Yes(group) => ask_for_sample(tenant, job, sample, *group, page_size).await?,
        Supported::No(_) => Sample::default(),
    };
    let survey = Survey { many, scan, sample };
    Ok(Surveyed {
        survey,
        page_size: Some(page_size),
    })
}

/// The first page of everybody, as large as the tenant grants it; or why there is none.
async fn largest_page<T: Tenant>(tenant: &Paced<T>) -> Result<Result<(Page<Found>, u32), String>, Objection> {
    let mut refused = String::new();
    for size in [LARGEST_PAGE, Slice::USUAL_SIZE] {
        let slice = Slice { size, number: 1 };
        match ask(tenant, Wanted::Everybody, slice).await? {
            Ok(page) => {
                let granted = granted(&page, size);
                return Ok(Ok((page, granted)));
            }
            Err(why) => refused = why,
        }
    }
    Ok(Err(format!("the tenant does not list its profiles ({refused})")))
}

/// How many profiles the tenant puts on a page where `size` were asked for.
fn granted(page: &Page<Found>, size: u32) -> u32 {
    let told = page.size.and_then(|told| u32::try_from(told).ok());
    let held = u32::try_from(page.items.len()).unwrap_or(u32::MAX);
    let granted = match told {
        Some(told) => told,
        // Fewer than asked for, and more to come: that is all it puts on a page.
        None if page.more => held,
        None => size,
    };
    granted.clamp(1, size)
}

/// Whether all pages can be walked without missing anybody: an order that no edit changes makes that provable.
fn scan(page: &Page<Found>, page_size: u32) -> Supported<u64> {
    let ordered = page
        .items
        .windows(2)
        .all(|pair| pair[0].profile < pair[1].profile);
    if page.items.len() < 2 || !ordered {
        return Supported::No("the tenant does not list its profiles in the order of their ids".into());
    }
    if page.items.iter().any(|found| found.held.is_none()) {
        return Supported::No("the tenant's lists do not say what a profile holds".into());
    }
    if page_size < SMALLEST_PAGE {
        return Supported::No(format!(
            "the tenant puts no more than {page_size} profiles on a page"
        ));
    }
    match page.total {
        Some(total) if total >= page.items.len() as u64 => {
            Supported::Yes((total as f64 / (f64::from(page_size) * GAIN)).ceil() as u64)
        }
        _ => Supported::No("the tenant does not say how many profiles it has".into()),
    }
}

/// What the filters do.
#[derive(Default)]
struct Probed {
    /// What speaks against asking for many emails at once.
    against_many: Option<String>,
    /// Whether an email is found in any letter case, as a scan would find it.
    folds_case: bool,
}

/// Asks for known emails alone and together.
///
/// Among them are one that several bear, where the first page shows one, one in other letter case, and one that
/// nobody bears.
async fn probe<T: Tenant>(tenant: &Paced<T>, people: &[Found], page_size: u32) -> Result<Probed, Objection> {
    let mut probed = Probed::default();
    let mut spellings = examples(people);
    if spellings.is_empty() {
        probed.against_many = Some("no profile of the tenant has an email to try it with".into());
        return Ok(probed);
    }
    spellings[0] = spellings[0].to_uppercase();
    let mut expected = BTreeSet::new();
    for (number, spelling) in spellings.iter().enumerate() {
        match ask(tenant, Wanted::Email(spelling), Slice::usual(1)).await? {
            Ok(page) => {
                let bearers = bearers_of(spelling, &page.items);
                probed.folds_case |= number == 0 && !bearers.is_empty();
                expected.extend(bearers);
                if page.more {
                    probed.against_many = Some("the email filter finds too much".into());
                }
            }
            Err(why) => probed.against_many = Some(why),
        }
    }
    if probed.against_many.is_none() {
        probed.against_many = compare(tenant, &spellings, &expected, page_size).await?;
    }
    Ok(probed)
}

/// Asks for all of these at once, and says what speaks against doing so.
async fn compare<T: Tenant>(
    tenant: &Paced<T>,
    spellings: &[String],
    expected: &BTreeSet<ProfileId>,
    page_size: u32,
) -> Result<Option<String>, Objection> {
    let mut asked: Vec<&str> = spellings.iter().map(String::as_str).collect();
    asked.insert(1, NOBODY);
    let slice = Slice {
        size: page_size,
        number: 1,
    };
    Ok(match ask(tenant, Wanted::Emails(&asked), slice).await? {
        Ok(page) => {
            let found: BTreeSet<ProfileId> = page.items.into_iter().map(|found| found.profile).collect();
            (page.more || found != *expected).then(|| {
                "the tenant answers otherwise for many emails at once than for each of them alone".into()
            })
        }
        Err(why) => Some(format!("the tenant does not take many emails at once ({why})")),
    })
}

/// Emails of these people that say most about a filter: shared ones, then those with a `+`, then any.
fn examples(people: &[Found]) -> Vec<String> {
    let usable = |found: &&Found| Email::parse(&found.email).is_ok() && is_plain(found.email.trim());
    let mut emails: Vec<String> = people
        .iter()
        .filter(usable)
        .map(|found| found.email.trim().to_lowercase())
        .collect();
    emails.sort();
    let shared: Vec<String> = emails
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0].clone())
        .collect();
    emails.dedup();
    // `false` comes first.
    emails.sort_by_key(|email| (!shared.contains(email), !email.contains('+')));
    // The first one is asked for in capitals; one that says more about other things is not used up for that.
    emails.truncate(PROBES);
    emails.reverse();
    emails
}

fn bearers_of(spelling: &str, found: &[Found]) -> Vec<ProfileId> {
    let asked = Email::from_ledger(&spelling.to_lowercase());
    let bearers = bearers(&asked, found);
    bearers.into_iter().map(|found| found.profile.clone()).collect()
}

/// What becomes of emails of the list. Only counted: the run asks for them again.
async fn ask_for_sample<T: Tenant>(
    tenant: &Paced<T>,
    job: &Job,
    emails: &[Email],
    group: usize,
    page_size: u32,
) -> Result<Sample, Objection> {
    let mut sample = Sample::default();
    let plain: Vec<&Email> = emails.iter().filter(|email| is_plain(email.as_str())).collect();
    let mut rest = plain.as_slice();
    while !rest.is_empty() {
        let (asked, later) = rest.split_at(cut(rest.iter().map(|email| email.as_str()), group));
        rest = later;
        let texts: Vec<&str> = asked.iter().map(|email| email.as_str()).collect();
        let slice = Slice {
            size: page_size,
            number: 1,
        };
        let Ok(page) = ask(tenant, Wanted::Emails(&texts), slice).await? else {
            return Ok(sample);
        };
        let asked: Vec<Email> = asked.iter().copied().cloned().collect();
        let Ok(sorted) = sort_out(&asked, page.items) else {
            return Ok(sample);
        };
        sample.asked += asked.len() as u64;
        for found in sorted {
            match found.as_slice() {
                [] => sample.missing += 1,
                [only] if wants(job, only) => {}
                _ => sample.needless += 1,
            }
        }
    }
    Ok(sample)
}

fn wants(job: &Job, found: &Found) -> bool {
    let held = found.held.clone().unwrap_or_default();
    matches!(judge(job, found.profile.clone(), held), Verdict::Resolved { .. })
}

/// Asks one question; a refusal of this question is an answer, too.
async fn ask<T: Tenant>(
    tenant: &Paced<T>,
    wanted: Wanted<'_>,
    slice: Slice,
) -> Result<Result<Page<Found>, String>, Objection> {
    let question = |tenant: Arc<T>| async move { tenant.profiles(wanted, slice).await };
    match ask_patiently(tenant, Class::Settle, Some(UNREACHABLE_LIMIT), question).await {
        Ok(page) => Ok(Ok(page)),
        Err(GaveUp::Refused(why)) => Ok(Err(why)),
        Err(GaveUp::Missing) => Ok(Err("HTTP 404".into())),
        Err(GaveUp::Denied(refusal)) => Ok(Err(refusal.to_string())),
        // A tenant that answers a question with garbage, over and over, still answers others.
        Err(GaveUp::Halt(Halt::Outage(why))) => Ok(Err(why)),
        Err(gave_up) => Err(objection(
            ("GET /profiles", "read profiles", "read-profiles"),
            gave_up,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, email: &str) -> Found {
        Found {
            profile: ProfileId::new(id),
            email: email.into(),
            held: Some(vec![]),
        }
    }

    #[test]
    fn the_examples_say_as_much_as_can_be() {
        let people = [
            found("p1", "ann@example.com"),
            found("p2", "bob+news@example.com"),
            found("p3", "cy@example.com"),
            found("p4", "CY@example.com"),
            found("p5", "dee@example.com"),
            found("p6", "eve@example.com"),
            found("p7", "not an email"),
            found("p8", ""),
        ];
        let examples = examples(&people);
        assert_eq!(examples.len(), PROBES);
        assert_eq!(examples[PROBES - 1], "cy@example.com");
        assert!(examples.contains(&"bob+news@example.com".to_owned()));
    }

    #[test]
    fn a_page_is_as_large_as_the_tenant_grants() {
        let page = |items: usize, more, size| Page {
            size,
            ..Page::new(vec![found("p", "a@example.com"); items], more)
        };
        assert_eq!(granted(&page(100, true, Some(100)), 500), 100);
        assert_eq!(granted(&page(15, true, None), 500), 15);
        assert_eq!(granted(&page(3, false, None), 500), 500);
        assert_eq!(granted(&page(3, false, Some(9_999)), 500), 500);
    }

    #[test]
    fn only_an_order_that_no_edit_changes_can_be_walked() {
        let page = |ids: &[&str], total| Page {
            total,
            ..Page::new(ids.iter().map(|id| found(id, "a@example.com")).collect(), true)
        };
        assert_eq!(scan(&page(&["a", "b"], Some(870)), 100), Supported::Yes(10));
        for bad in [
            page(&["b", "a"], Some(900)),
            page(&["a", "a"], Some(900)),
            page(&["a"], Some(900)),
            page(&["a", "b"], None),
            page(&["a", "b"], Some(1)),
        ] {
            assert!(matches!(scan(&bad, 100), Supported::No(_)));
        }
    }

    #[test]
    fn a_sample_grows_with_the_list_up_to_a_bound() {
        assert_eq!(sample_size(100, None), 93);
        assert_eq!(sample_size(10_000, None), 10 * 93);
        assert_eq!(sample_size(10_000_000, None), 50 * 93);
        assert_eq!(sample_size(10_000_000, Some(100)), 2 * 93);
        assert_eq!(sample_size(10_000_000, Some(20)), 0);
    }
}
