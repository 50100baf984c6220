//! What a tenant supports beyond single look-ups, found out before a run begins: a dozen requests that may save a
//! million.
//!
//! Nothing of it is documented well enough to be relied on, so every question has an answer that is known from single
//! look-ups, and one answer that disagrees is enough to do without. Nothing that is found out here ends a run: a tenant
//! that supports nothing is asked for one email at a time.

use super::context::{GaveUp, Halt, ask_patiently};
use super::preflight::{Objection, UNREACHABLE_LIMIT, objection};
use crate::api::pacing::Class;
use crate::api::{Paced, Page, Slice, Tenant, Wanted};
use crate::model::email::Email;
use crate::model::grouping::{cut, is_plain, most_on, sort_out};
use crate::model::ids::{Job, ProfileId};
use crate::model::lookup::{Found, Verdict, bearers, judge};
use crate::model::walk::{SMALLEST_PAGE, pages};
use crate::model::way::{Sample, Supported, Survey};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Profiles on a page that are asked for first. The tenant may grant fewer.
const LARGEST_PAGE: u32 = 500;
/// Emails of the tenant's own profiles that are asked for alone and together.
const PROBES: usize = 4;
/// Emails of a sample that are asked for alone where they cannot be asked for together: one in so many, up to a bound.
const ALONE_ONE_IN: usize = 20;
const ALONE_LIMIT: usize = 200;
/// Emails that the answers to a sample held nobody for and that are asked for alone as well.
const DOUBLE_CHECKS: usize = 3;

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
/// Whoever no answer holds costs a fourteenth of a request, and whoever is sent a three hundredth, so that a rough idea is
/// enough.
pub fn sample_size(emails: u64, requests: Option<u64>) -> usize {
    let affordable = requests.map_or(u64::MAX, |requests| requests / 50);
    let groups = (emails / 2_000).clamp(1, 25).min(affordable) as usize;
    groups * most_on(Slice::USUAL_SIZE as usize)
}

/// About how many requests it takes to find out what a tenant supports with so many emails as a sample: a page of
/// everybody, each probe alone and all together, the sample in groups, and the checks.
pub fn about_requests(sample: usize) -> u64 {
    let groups = sample.div_ceil(most_on(Slice::USUAL_SIZE as usize));
    (1 + PROBES + 1 + groups + DOUBLE_CHECKS) as u64
}

/// Finds out what the tenant supports. `sample` are emails of the list, chosen at random.
pub async fn survey<T: Tenant>(
    tenant: &Paced<T>,
    job: &Job,
    sample: &[Email],
) -> Result<Surveyed, Objection> {
    let tenant = &tenant.spelled();
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
    let scan = match probed.against_scan {
        None => scan(&page, page_size),
        Some(why) => Supported::No(why.into()),
    };
    let mut survey = Survey {
        many: probed.many,
        scan,
        sample: Sample::default(),
    };
    ask_for_sample(tenant, job, sample, &mut survey, page_size).await?;
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
        return Supported::No("the tenant's lists do not say which statuses a profile has".into());
    }
    if page_size < SMALLEST_PAGE {
        return Supported::No(format!(
            "the tenant puts no more than {page_size} profiles on a page"
        ));
    }
    match page.total {
        Some(total) if total >= page.items.len() as u64 => Supported::Yes(pages(total, page_size)),
        _ => Supported::No("the tenant does not say how many profiles it has".into()),
    }
}

/// What the filters do.
struct Probed {
    /// How many emails may be asked for at once.
    many: Supported<usize>,
    /// What speaks against taking the list of everybody for what the email filter searches.
    against_scan: Option<&'static str>,
}

/// Asks for known emails alone and together.
///
/// Among them are one that several bear, where the first page shows one, one in other letter case, and one that
/// nobody bears.
async fn probe<T: Tenant>(tenant: &Paced<T>, people: &[Found], page_size: u32) -> Result<Probed, Objection> {
    let mut spellings = examples(people);
    let mut against_many = spellings
        .is_empty()
        .then(|| "no profile of the tenant has an email to try it with".to_owned());
    let mut against_scan =
        Some("the tenant's filter may distinguish upper and lower case").filter(|_| spellings.is_empty());
    if let Some(first) = spellings.first_mut() {
        *first = first.to_uppercase();
    }
    let mut expected = BTreeSet::new();
    for (number, spelling) in spellings.iter().enumerate() {
        let listed = bearers_of(spelling, people);
        let found = match ask(tenant, Wanted::Email(spelling), Slice::usual(1)).await? {
            Ok(page) => {
                if page.more {
                    against_many = Some("the email filter returns profiles that it should not".into());
                }
                bearers_of(spelling, &page.items)
            }
            Err(why) => {
                against_many = Some(why);
                Vec::new()
            }
        };
        if number == 0 && found.is_empty() {
            against_scan = Some("the tenant's filter may distinguish upper and lower case");
        } else if !listed.iter().all(|profile| found.contains(profile)) {
            against_scan = Some("the tenant lists profiles that its filter does not find");
        }
        expected.extend(found);
    }
    let many = match against_many {
        None => largest_group(tenant, &spellings, &expected, page_size).await?,
        Some(why) => Supported::No(why),
    };
    Ok(Probed { many, against_scan })
}

/// How many emails the tenant really takes at once: it may heed the first few of them only. The largest question that
/// fits a page is tried first, then smaller ones.
async fn largest_group<T: Tenant>(
    tenant: &Paced<T>,
    spellings: &[String],
    expected: &BTreeSet<ProfileId>,
    page_size: u32,
) -> Result<Supported<usize>, Objection> {
    let mut size = most_on(page_size as usize);
    loop {
        let asked = padded(spellings, size);
        match compare(tenant, &asked, expected, page_size).await? {
            None => return Ok(Supported::Yes(asked.len())),
            Some(why) if asked.len() <= spellings.len() + 1 => return Ok(Supported::No(why)),
            Some(_) => size = asked.len() / 2,
        }
    }
}

/// These emails, one of them in the end and the others in the beginning, with so many between that nobody bears.
fn padded(spellings: &[String], size: usize) -> Vec<String> {
    let fillers = (0..).map(|number| format!("{number}@nobody.invalid"));
    let between = size.saturating_sub(spellings.len()).max(1);
    let (last, first) = spellings.split_last().expect("BUG: a probe without emails");
    let all: Vec<String> = first.iter().cloned().chain(fillers.take(between)).collect();
    // The last one is to be heeded, too, so it must still fit.
    let fitting = cut(all.iter().chain([last]).map(String::as_str), usize::MAX).max(spellings.len() + 1);
    all.into_iter().take(fitting - 1).chain([last.clone()]).collect()
}

/// Asks for all of these at once, and says what speaks against doing so.
async fn compare<T: Tenant>(
    tenant: &Paced<T>,
    asked: &[String],
    expected: &BTreeSet<ProfileId>,
    page_size: u32,
) -> Result<Option<String>, Objection> {
    Ok(match ask_together(tenant, asked, page_size).await? {
        Ok(page) => {
            let found: BTreeSet<ProfileId> = page.items.into_iter().map(|found| found.profile).collect();
            (page.more || found != *expected)
                .then(|| "the tenant answers differently for many emails at once than for each alone".into())
        }
        Err(why) => Some(format!("the tenant does not take many emails at once ({why})")),
    })
}

async fn ask_together<T: Tenant>(
    tenant: &Paced<T>,
    emails: &[impl AsRef<str>],
    page_size: u32,
) -> Result<Result<Page<Found>, String>, Objection> {
    let texts: Vec<&str> = emails.iter().map(AsRef::as_ref).collect();
    let slice = Slice {
        size: page_size,
        number: 1,
    };
    ask(tenant, Wanted::Emails(&texts), slice).await
}

/// Emails of these people that say most about a filter: shared ones, then any.
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
    // `false` comes first. Whether unusual characters can stand in a list is found out with those of the job.
    emails.sort_by_key(|email| !shared.contains(email));
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

/// Finds out what becomes of emails of the list: together where that can be, else of fewer of them. Only counted: the
/// run asks for them again.
async fn ask_for_sample<T: Tenant>(
    tenant: &Paced<T>,
    job: &Job,
    emails: &[Email],
    survey: &mut Survey,
    page_size: u32,
) -> Result<(), Objection> {
    let Supported::Yes(group) = survey.many else {
        return ask_alone(tenant, job, few(emails), &mut survey.sample).await;
    };
    let mut missed = Vec::new();
    let plain: Vec<&Email> = emails.iter().filter(|email| is_plain(email.as_str())).collect();
    let mut rest = plain.as_slice();
    while !rest.is_empty() {
        let (asked, later) = rest.split_at(cut(rest.iter().map(|email| email.as_str()), group));
        rest = later;
        let texts: Vec<&str> = asked.iter().map(|email| email.as_str()).collect();
        let Ok(page) = ask_together(tenant, &texts, page_size).await? else {
            break;
        };
        let asked: Vec<Email> = asked.iter().copied().cloned().collect();
        let Ok(sorted) = sort_out(&asked, page.items) else {
            break;
        };
        for (email, found) in asked.into_iter().zip(sorted) {
            let found: Vec<&Found> = found.iter().collect();
            count(job, &found, &mut survey.sample);
            if found.is_empty() {
                missed.push(email);
            }
        }
    }
    let mut alone = Sample::default();
    missed.truncate(DOUBLE_CHECKS);
    ask_alone(tenant, job, &missed, &mut alone).await?;
    if alone.missing < alone.asked {
        survey.many =
            Supported::No("it leaves profiles out that it returns when asked for one email alone".into());
        // The sample says as little as those answers.
        survey.sample = Sample::default();
        ask_alone(tenant, job, few(emails), &mut survey.sample).await?;
    }
    Ok(())
}

/// As many of a sample as are asked for one by one.
fn few(emails: &[Email]) -> &[Email] {
    &emails[..(emails.len() / ALONE_ONE_IN).min(ALONE_LIMIT)]
}

async fn ask_alone<T: Tenant>(
    tenant: &Paced<T>,
    job: &Job,
    emails: &[Email],
    sample: &mut Sample,
) -> Result<(), Objection> {
    for email in emails {
        if let Ok(page) = ask(tenant, Wanted::Email(email.as_str()), Slice::usual(1)).await? {
            count(job, &bearers(email, &page.items), sample);
        }
    }
    Ok(())
}

/// Counts one email of the list, which these profiles bear.
fn count(job: &Job, bearers: &[&Found], sample: &mut Sample) {
    sample.asked += 1;
    match bearers {
        [] => sample.missing += 1,
        [only] if wants(job, only) => {}
        _ => sample.needless += 1,
    }
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
            found("p9", "flo@example.com"),
            found("p7", "not an email"),
            found("p8", ""),
        ];
        let examples = examples(&people);
        assert_eq!(examples.len(), PROBES);
        assert_eq!(examples[PROBES - 1], "cy@example.com");
        assert!(!examples.contains(&"bob+news@example.com".to_owned()));
    }

    #[test]
    fn a_probe_is_as_long_as_a_question_may_be_with_a_known_email_at_either_end() {
        let known: Vec<String> = (0..4).map(|number| format!("k{number}@example.com")).collect();
        let asked = padded(&known, 93);
        assert_eq!(
            (asked.len(), &asked[..3], &asked[92]),
            (93, &known[..3], &known[3])
        );
        assert_eq!(
            padded(&known, 3).len(),
            5,
            "somebody whom nobody bears is always among them"
        );
        let long = padded(&known, 468);
        assert!(long.len() < 250 && long.last() == known.last(), "{}", long.len());
        assert_eq!(cut(long.iter().map(String::as_str), usize::MAX), long.len());
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
        assert_eq!(sample_size(10_000, None), 5 * 93);
        assert_eq!(sample_size(10_000_000, None), 25 * 93);
        assert_eq!(sample_size(10_000_000, Some(100)), 2 * 93);
        assert_eq!(sample_size(10_000_000, Some(20)), 0);
    }
}
