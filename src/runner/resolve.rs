//! Looking entries up: from emails to verdicts.
//!
//! Every page of the answer to a single email is read until it is sure, and every returned email is compared, because
//! the tenant's filter may be exact, partial or none at all.
//!
//! The answer to a group of emails counts only if it stands whole on one page, since pages may shift between two
//! requests, and if nothing in it contradicts the question. It settles whom it holds; whoever it does not hold is asked
//! for in more groups, or alone, before anybody is called not found.

use super::bursts::Provisional;
use super::context::{Context, GaveUp, Halt, find_nobody};
use super::known::{folds_case, search_works};
use super::lists::{Held, held_of};
use super::lookups::{LookedUp, Question};
use super::misses::{Groups, Known, Missed};
use crate::api::pacing::Class;
use crate::api::{Page, Slice, Tenant, Wanted};
use crate::ledger::PendingEntry;
use crate::model::email::Email;
use crate::model::entry::SkipReason;
use crate::model::grouping::{Kind, Setback, sort_out};
use crate::model::ids::ProfileId;
use crate::model::lookup::{Found, Verdict, bearers, judge};
use crate::model::outcome::ReadFailure;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Pages of one look-up that are read at the most. A partial filter that matches five thousand profiles for a
/// whole address is not a filter.
const PAGES_LIMIT: u32 = 50;
/// How often the pages of one look-up are read before it is given up, where they change meanwhile.
const READINGS_LIMIT: u32 = 3;
/// Worthless answers to one group before it is given up: its emails can also be asked for alone.
const SPOILED_LIMIT: u32 = 2;
/// Answers that say that the question was too long, or are what gateways say to one.
const TOO_LONG: [u16; 4] = [400, 413, 414, 431];

/// Asks one question.
pub async fn look_up<T: Tenant>(context: &Context<T>, question: Question) -> Result<LookedUp, Halt> {
    match question {
        Question::Alone { entry, groups } => look_up_alone(context, entry, groups).await,
        Question::Group { entries, check } => look_up_group(context, entries, check).await,
        Question::InCompany { entries, company } => look_up_in_company(context, entries, &company).await,
    }
}

async fn look_up_alone<T: Tenant>(
    context: &Context<T>,
    entry: PendingEntry,
    groups: Groups,
) -> Result<LookedUp, Halt> {
    let missed = groups != Groups::NotAsked;
    let finding = find(context, &entry).await.or_else(given_up)?;
    let mut looked_up = LookedUp {
        of_share: groups == Groups::Share,
        ..LookedUp::default()
    };
    if missed && finding.at_once {
        let why = "it leaves out a profile that it returns when asked for it alone";
        looked_up.setback = Some(Setback::Contradicted(why));
    }
    // The answer to its group, which held others, said so before.
    let is_said_twice = missed && finding.finds_nobody();
    looked_up.take(entry, finding, is_said_twice);
    Ok(looked_up)
}

/// Whether somebody was found.
pub(super) fn is_of_somebody(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Resolved { .. } | Verdict::Ambiguous { .. } => true,
        Verdict::Skipped { profile, .. } => profile.is_some(),
        Verdict::InNoGroup | Verdict::Failed { .. } => false,
    }
}

/// Who bears the email of an entry with this verdict, where that is one profile.
fn known_by(entry: &PendingEntry, verdict: &Verdict) -> Option<Known> {
    let (Verdict::Resolved { profile, .. }
    | Verdict::Skipped {
        profile: Some((profile, _)),
        ..
    }) = verdict
    else {
        return None;
    };
    Some(Known {
        email: entry.email.clone(),
        profile: profile.clone(),
    })
}

/// What a look-up that was given up leads to, unless its reason turns out to be the tenant's and not its own.
fn failed(gave_up: GaveUp) -> Result<Verdict, Halt> {
    let reason = match gave_up {
        GaveUp::Halt(halt) => return Err(halt),
        GaveUp::Denied(refusal) => refusal.to_string(),
        GaveUp::Missing => "GET /profiles answers 404".into(),
        GaveUp::Refused(reason) => reason,
    };
    Ok(Verdict::Failed { reason })
}

/// What one look-up has found out.
#[derive(Clone)]
pub(super) struct Finding {
    /// What it leads to.
    pub verdict: Verdict,
    /// Whether somebody was found under the first spelling.
    pub at_once: bool,
    /// When the search had answered.
    pub at: Instant,
    /// How far it is believed.
    pub trust: Trust,
}

/// How far one answer is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// As it is.
    Firm,
    /// When it is given again: it rests on something that was not shown.
    Again,
    /// Not at all: others contradict it.
    Unclear,
    /// There was none.
    GivenUp,
}

impl Finding {
    /// Whether nobody bears the email.
    pub fn finds_nobody(&self) -> bool {
        matches!(self.verdict, Verdict::Skipped { profile: None, .. })
    }
}

impl LookedUp {
    /// Takes in what was found out about an entry.
    fn take(&mut self, entry: PendingEntry, finding: Finding, is_said_twice: bool) {
        let Finding {
            verdict, at, trust, ..
        } = finding;
        self.found |= is_of_somebody(&verdict);
        if trust == Trust::Firm || is_said_twice {
            self.known.extend(known_by(&entry, &verdict));
            self.verdicts.push((entry.id, verdict));
        } else {
            self.provisional.push(Provisional { entry, verdict, at });
        }
    }
}

/// What a question that was given up leads to.
pub(super) fn given_up(gave_up: GaveUp) -> Result<Finding, Halt> {
    Ok(Finding {
        verdict: failed(gave_up)?,
        at_once: false,
        at: Instant::now(),
        trust: Trust::GivenUp,
    })
}

/// What is found out about one email.
///
/// Every spelling of its lists is asked for, unless the search is known to fold case: two people may bear the email in
/// two cases.
pub(super) async fn find<T: Tenant>(context: &Context<T>, entry: &PendingEntry) -> Result<Finding, GaveUp> {
    let asked = Email::from_ledger(&entry.email);
    let mut found = sure_pages(context, &asked, &entry.email).await?;
    let at_once = !bearers(&asked, &found).is_empty();
    note(context, &asked, &entry.email, &found);
    if !entry.spellings.is_empty() && !folds_case(context).await? {
        for spelling in &entry.spellings {
            let spelled = sure_pages(context, &asked, spelling).await?;
            note(context, &asked, spelling, &spelled);
            found.extend(spelled);
        }
    }
    let at = Instant::now();
    judge_bearers(context, &bearers(&asked, &found), at_once, at).await
}

fn note<T>(context: &Context<T>, asked: &Email, spelling: &str, found: &[Found]) {
    if let [only] = bearers(asked, found).as_slice() {
        context.known.note(spelling, only);
    }
}

/// The same as [`pages`], asked again where nobody on them resembles what was asked.
async fn sure_pages<T: Tenant>(
    context: &Context<T>,
    asked: &Email,
    spelling: &str,
) -> Result<Vec<Found>, GaveUp> {
    let found = pages(context, asked, spelling).await?;
    if are_foreign(asked, &found) {
        return beyond_doubt(context, asked, spelling, found).await;
    }
    Ok(found)
}

/// Asks again where not one of those who were found resembles what was asked. On a connection that is kept, that is also
/// what the answer to another question looks like, and nobody may be passed over for it: a filter that works in its own
/// way finds the same people again.
async fn beyond_doubt<T: Tenant>(
    context: &Context<T>,
    asked: &Email,
    spelling: &str,
    mut before: Vec<Found>,
) -> Result<Vec<Found>, GaveUp> {
    for _ in 0..READINGS_LIMIT {
        let found = pages(context, asked, spelling).await?;
        let again = |found: &Found| before.iter().any(|known| known.profile == found.profile);
        if !are_foreign(asked, &found) || found.iter().all(again) {
            return Ok(found);
        }
        before = found;
    }
    Err(GaveUp::Refused(
        "the tenant returns profiles that were not asked for, other ones each time".into(),
    ))
}

/// What it means that these profiles bear an email, as the search has answered by then.
pub(super) async fn judge_bearers<T: Tenant>(
    context: &Context<T>,
    bearers: &[&Found],
    at_once: bool,
    at: Instant,
) -> Result<Finding, GaveUp> {
    let (verdict, trust) = match bearers {
        [] => {
            let (reason, profile) = (SkipReason::NotFound, None);
            (Verdict::Skipped { reason, profile }, Trust::Again)
        }
        [only] => {
            let profile = only.profile.clone();
            match held_of(context, &profile, only.held.as_ref()).await? {
                Held::Has(held) => (judge(&context.job, profile, held), Trust::Firm),
                Held::Nothing => (judge(&context.job, profile, Vec::new()), Trust::Again),
                Held::Unclear(why) => (Verdict::Failed { reason: why }, Trust::Unclear),
            }
        }
        several => {
            let candidates = several.iter().map(|found| found.profile.clone()).collect();
            (Verdict::Ambiguous { candidates }, Trust::Firm)
        }
    };
    Ok(Finding {
        verdict,
        at_once,
        at,
        trust,
    })
}

/// All profiles that the tenant's filter finds under one spelling.
///
/// Pages are cut by position: where somebody goes while they are read, whoever moves up over the edge of a page is on
/// none of them. The number of all tells, and also where the tenant shows fewer than it says that there are.
async fn pages<T: Tenant>(context: &Context<T>, asked: &Email, spelling: &str) -> Result<Vec<Found>, GaveUp> {
    for _ in 0..READINGS_LIMIT {
        if let Some(found) = pages_that_stay(context, asked, spelling).await? {
            return Ok(found);
        }
    }
    Err(GaveUp::Refused(
        "the tenant says that this email has more profiles than it shows".into(),
    ))
}

/// The same, or nothing where their number changed in between.
async fn pages_that_stay<T: Tenant>(
    context: &Context<T>,
    asked: &Email,
    spelling: &str,
) -> Result<Option<Vec<Found>>, GaveUp> {
    let mut found: Vec<Found> = Vec::new();
    let mut total = None;
    for number in 1..=PAGES_LIMIT {
        let question = |tenant: Arc<T>| async move {
            let wanted = Wanted::Email(spelling);
            tenant.profiles(wanted, Slice::usual(number)).await
        };
        let page = match context.ask(Class::Lookup, question).await {
            // It answers with another page than it is asked for, or has only the first.
            Err(GaveUp::Missing) if number > 1 => return Ok(None),
            page => page?,
        };
        if number == 1 && page.more && page.items.iter().any(|item| is_foreign(asked, item)) {
            // Either the filter has stopped filtering, and these are the first of everybody, or it takes
            // something in this address for a wildcard.
            check_filter(context).await?;
        }
        if number > 1 && page.total != total {
            return Ok(None);
        }
        total = page.total;
        let before = found.len();
        found.extend(page.items);
        if !page.more {
            let distinct: HashSet<&ProfileId> = found.iter().map(|found| &found.profile).collect();
            let is_whole = total.is_none_or(|total| distinct.len() as u64 >= total);
            return Ok(is_whole.then_some(found));
        }
        if found[before..]
            .iter()
            .all(|item| found[..before].iter().any(|known| known.profile == item.profile))
        {
            return Err(GaveUp::Refused(
                "the tenant announces more pages but sends the same one again".into(),
            ));
        }
    }
    Err(GaveUp::Refused(format!(
        "more than {PAGES_LIMIT} pages of profiles match this email"
    )))
}

/// Whether the tenant, asked for this entry alone, returns this profile and no other that bears its email.
pub(super) async fn agrees<T: Tenant>(
    context: &Context<T>,
    entry: &PendingEntry,
    profile: &ProfileId,
) -> Result<bool, Halt> {
    let asked = Email::from_ledger(&entry.email);
    match pages(context, &asked, &entry.email).await {
        Ok(found) => Ok(ids(&bearers(&asked, &found)) == [profile]),
        Err(GaveUp::Halt(halt)) => Err(halt),
        // It will be met again where it matters.
        Err(_) => Ok(true),
    }
}

/// Whether no filter that works would find it, be it exact or partial.
fn is_foreign(asked: &Email, found: &Found) -> bool {
    !found.email.is_empty() && !found.email.to_lowercase().contains(asked.as_str())
}

fn are_foreign(asked: &Email, found: &[Found]) -> bool {
    !found.is_empty() && found.iter().all(|item| is_foreign(asked, item))
}

async fn check_filter<T: Tenant>(context: &Context<T>) -> Result<(), GaveUp> {
    let nobody = context.ask(Class::Lookup, find_nobody).await?;
    if nobody.items.is_empty() {
        Ok(())
    } else {
        Err(Halt::FilterIgnored.into())
    }
}

async fn look_up_group<T: Tenant>(
    context: &Context<T>,
    entries: Vec<PendingEntry>,
    check: bool,
) -> Result<LookedUp, Halt> {
    let asked: Vec<Email> = entries
        .iter()
        .map(|entry| Email::from_ledger(&entry.email))
        .collect();
    let mut sorted = match ask_together(context, &asked, Class::Lookup).await? {
        Ok(sorted) => sorted,
        Err(setback) => return Ok(nothing_learned(entries, setback)),
    };
    let found = asked.iter().zip(&sorted).find(|(_, found)| found.len() == 1);
    if let Some((email, found)) = found {
        note(context, email, email.as_str(), found);
    }
    let few =
        |sorted: &[Vec<Found>]| sorted.iter().filter(|found| !found.is_empty()).count() * 2 < sorted.len();
    let mut is_witnessed = true;
    if few(&sorted) {
        // It is not known whether the search worked when the group was asked for.
        is_witnessed = search_works(context).await?.is_some();
        sorted = match ask_together(context, &asked, Class::Lookup).await? {
            Ok(sorted) => sorted,
            Err(setback) => return Ok(nothing_learned(entries, setback)),
        };
        is_witnessed |= !few(&sorted);
    }
    if check && let Some(setback) = check_one(context, &asked, &sorted).await? {
        return Ok(nothing_learned(entries, setback));
    }
    let missed = entries
        .into_iter()
        .map(|entry| Missed { entry, times: 0 })
        .collect();
    let mut looked_up = judge_group(context, missed, &sorted).await?;
    if !is_witnessed {
        let missed = std::mem::take(&mut looked_up.missed).into_iter();
        looked_up.unwitnessed = missed.map(|missed| missed.entry).collect();
    }
    Ok(looked_up)
}

/// What the answer to a group leads to.
async fn judge_group<T: Tenant>(
    context: &Context<T>,
    entries: Vec<Missed>,
    sorted: &[Vec<Found>],
) -> Result<LookedUp, Halt> {
    let at = Instant::now();
    let mut looked_up = LookedUp::default();
    for (Missed { entry, times }, found) in entries.into_iter().zip(sorted) {
        if found.is_empty() {
            let times = times.saturating_add(1);
            looked_up.missed.push(Missed { entry, times });
            continue;
        }
        let bearers: Vec<&Found> = found.iter().collect();
        let finding = judge_bearers(context, &bearers, true, at).await;
        looked_up.take(entry, finding.or_else(given_up)?, false);
    }
    Ok(looked_up)
}

/// Asks for entries among known ones of their kind, of whom the first and the last stand at the ends. Unless all of
/// those are found, nothing is learned, and entries of this kind are asked for alone from here on.
async fn look_up_in_company<T: Tenant>(
    context: &Context<T>,
    entries: Vec<Missed>,
    company: &[Known],
) -> Result<LookedUp, Halt> {
    let places = places_among(entries.len(), company.len());
    let all = entries.len() + company.len();
    let (mut of_entries, mut of_company) = (entries.iter(), company.iter());
    let email = |place: usize| {
        let email = if places.contains(&place) {
            of_company.next().map(|known| &known.email)
        } else {
            of_entries.next().map(|missed| &missed.entry.email)
        };
        Email::from_ledger(email.expect("BUG: a place for nobody"))
    };
    let asked: Vec<Email> = (0..all).map(email).collect();
    let alone = |entries: Vec<Missed>| entries.into_iter().map(|missed| missed.entry).collect();
    let sorted = match ask_together(context, &asked, Class::Lookup).await? {
        Ok(sorted) => sorted,
        Err(setback) => {
            return Ok(LookedUp {
                unwitnessed: alone(entries),
                setback: Some(setback),
                ..LookedUp::default()
            });
        }
    };
    let is_found =
        |(known, place): (&Known, &usize)| sorted[*place].iter().any(|found| found.profile == known.profile);
    if !company.iter().zip(&places).all(is_found) {
        return Ok(LookedUp {
            unwitnessed: alone(entries),
            refused: company.first().map(|known| Kind::of(&known.email)),
            ..LookedUp::default()
        });
    }
    if entries.iter().all(|missed| missed.times == 0)
        && let Some(setback) = check_one(context, &asked, &sorted).await?
    {
        return Ok(LookedUp {
            unwitnessed: alone(entries),
            setback: Some(setback),
            ..LookedUp::default()
        });
    }
    let of_entries = sorted.into_iter().enumerate();
    let of_entries: Vec<Vec<Found>> = of_entries
        .filter_map(|(place, found)| (!places.contains(&place)).then_some(found))
        .collect();
    let is_contradicted = |(missed, found): (&Missed, &Vec<Found>)| missed.times > 0 && !found.is_empty();
    let contradicted = entries.iter().zip(&of_entries).any(is_contradicted);
    let mut looked_up = judge_group(context, entries, &of_entries).await?;
    if contradicted {
        let why = "it left a profile out of one answer that it returns in another";
        looked_up.setback = Some(Setback::Contradicted(why));
    }
    Ok(looked_up)
}

/// Where so many known ones stand among so many others: first, last, and evenly between.
fn places_among(others: usize, known: usize) -> Vec<usize> {
    let last = others + known - 1;
    (0..known)
        .map(|number| number * last / known.saturating_sub(1).max(1))
        .collect()
}

fn nothing_learned(entries: Vec<PendingEntry>, setback: Setback) -> LookedUp {
    LookedUp {
        again: entries,
        setback: Some(setback),
        ..LookedUp::default()
    }
}

/// The profiles that bear each of these emails, or why the answer says nothing.
pub(super) async fn ask_together<T: Tenant>(
    context: &Context<T>,
    asked: &[Email],
    class: Class,
) -> Result<Result<Vec<Vec<Found>>, Setback>, Halt> {
    let emails: Vec<&str> = asked.iter().map(Email::as_str).collect();
    let slice = Slice {
        size: context.settings.page_size,
        number: 1,
    };
    let mut stop = context.stop.clone();
    let page = tokio::select! {
        biased;
        _ = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped),
        page = ask_briefly(context, Wanted::Emails(&emails), slice, class) => page?,
    };
    Ok(page.and_then(|page| {
        whole(&page, slice)?;
        sort_out(asked, page.items)
    }))
}

/// Asks, and gives up sooner than where there is no other way. Waiting is the gate's business.
pub(super) async fn ask_briefly<T: Tenant>(
    context: &Context<T>,
    wanted: Wanted<'_>,
    slice: Slice,
    class: Class,
) -> Result<Result<Page<Found>, Setback>, Halt> {
    let mut spoiled = 0;
    context.asked.fetch_add(1, Ordering::Relaxed);
    loop {
        let question = |tenant: Arc<T>| async move { tenant.profiles(wanted, slice).await };
        let refused = match context.tenant.read(class, question).await {
            Ok(page) => return Ok(Ok(page)),
            Err(ReadFailure::SlowDown(_) | ReadFailure::Unreachable(_)) => continue,
            Err(ReadFailure::Spoiled(_)) if spoiled + 1 < SPOILED_LIMIT => {
                spoiled += 1;
                continue;
            }
            Err(ReadFailure::Denied(refusal)) if refusal.status == 401 => return Err(Halt::Denied(refusal)),
            Err(ReadFailure::Refused(refusal)) if TOO_LONG.contains(&refusal.status) => Setback::TooLong,
            Err(ReadFailure::Denied(refusal) | ReadFailure::Refused(refusal)) => {
                Setback::Refused(refusal.to_string())
            }
            Err(ReadFailure::Spoiled(why)) => Setback::Refused(why),
            Err(ReadFailure::Missing | ReadFailure::Elsewhere) => Setback::Refused("HTTP 404".into()),
        };
        return Ok(Err(refused));
    }
}

/// Whether an answer certainly holds all that it could hold.
fn whole(page: &Page<Found>, slice: Slice) -> Result<(), Setback> {
    let items = page.items.len() as u64;
    let granted = page.size.unwrap_or(u64::from(slice.size));
    // A page that is just full may have been cut off by a tenant that does not say how many there are.
    let cut_off = page.total.map_or(items >= granted, |total| total > items);
    if page.more || cut_off {
        let granted = usize::try_from(granted).unwrap_or(usize::MAX);
        return Err(Setback::Overflow(granted.min(page.items.len().max(1))));
    }
    Ok(())
}

/// Asks for one of the group alone, and compares.
async fn check_one<T: Tenant>(
    context: &Context<T>,
    asked: &[Email],
    sorted: &[Vec<Found>],
) -> Result<Option<Setback>, Halt> {
    let found: Vec<usize> = (0..asked.len())
        .filter(|place| !sorted[*place].is_empty())
        .collect();
    let Some(place) = fastrand::choice(found) else {
        return Ok(None);
    };
    match pages(context, &asked[place], asked[place].as_str()).await {
        Ok(alone)
            if ids(&bearers(&asked[place], &alone)) == ids(&sorted[place].iter().collect::<Vec<_>>()) =>
        {
            Ok(None)
        }
        Ok(_) => Ok(Some(Setback::Contradicted(
            "it answers differently when asked for one email alone",
        ))),
        Err(GaveUp::Halt(halt)) => Err(halt),
        // It will be met again where it matters.
        Err(_) => Ok(None),
    }
}

/// The ids of profiles, in an order of their own.
fn ids<'f>(found: &[&'f Found]) -> Vec<&'f ProfileId> {
    let mut ids: Vec<&ProfileId> = found.iter().map(|found| &found.profile).collect();
    ids.sort();
    ids
}
