//! `show`, `runs` and the members of a batch: the story of one email, profile, line, batch or run.

use super::args::{Common, ConnectionArgs, JsonArg, ShowArgs};
use super::error::{Failure, Kind};
use super::job::{print, print_json};
use super::look::GENTLE;
use super::settings;
use crate::api::pacing::Class;
use crate::api::{Paced, Tenant, Wanted, client::Client};
use crate::audit::SCHEMA_VERSION;
use crate::audit::story::{Event, Story, of_batch_and_its_origin};
use crate::audit::summary::iso_time;
use crate::input::Source;
use crate::ledger::{BatchRow, EntryHistory, LineOf, MemberRow, Reader, RunRow, holder_of};
use crate::model::email::Email;
use crate::model::ids::{BatchNo, EntryId, Handle, ProfileId};
use crate::model::lookup::bearers;
use crate::model::outcome::ReadFailure;
use crate::model::text::printable;
use crate::model::walk::Slice;
use crate::ui::format::{count, counted, duration, fit, moment, put};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Columns of a time and the blanks behind it.
const TIME_COLUMNS: usize = 21;

/// `show`.
pub fn show(args: &ShowArgs, common: &Common) -> Result<ExitCode, Failure> {
    let reader = Reader::open(&common.ledger)?;
    if let Some(no) = args.batch {
        return show_batch(&reader, BatchNo(no), args.json);
    }
    let entries = match (&args.who, &args.line) {
        (_, Some(place)) => match line(&reader, place)? {
            LineOf::Entry(id) => vec![id],
            LineOf::Rejected {
                reason,
                detail,
                excerpt,
            } => {
                return rejected(place, (&reason, &detail, &excerpt), args.json);
            }
        },
        (Some(who), None) => entries_of(&reader, who)?,
        (None, None) => return Err(Failure::new(Kind::Usage, "nobody is named").hint(WHO)),
    };
    for (nth, id) in entries.into_iter().enumerate() {
        let mut story = Story::of_entry(&reader, id)?;
        if args.now {
            story.now = now(&reader, &reader.history(id)?, &args.connection)?;
        }
        if args.json {
            let line = serde_json::to_string(&story).expect("BUG: a story is always JSON");
            print_json(&format!("{line}\n"))?;
        } else {
            print(&format!("{}{}", if nth > 0 { "\n" } else { "" }, told(&story)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

const WHO: &str = "give an email, a profile id, --line LIST:N or --batch N";

/// The entries of an email or of a profile.
fn entries_of(reader: &Reader, who: &str) -> Result<Vec<EntryId>, Failure> {
    let nobody = || {
        Failure::new(
            Kind::Usage,
            format!("no list of this ledger names {}", printable(who)),
        )
        .hint("`rollbook export --rows rejected` shows the rows that held no usable email")
    };
    if who.contains('@') {
        let email = Email::parse(who)
            .map_err(|error| Failure::new(Kind::Usage, format!("{}: {error}", printable(who))).hint(WHO))?;
        let id = reader.entry_of_email(email.as_str())?.ok_or_else(nobody)?;
        return Ok(vec![id]);
    }
    let entries = reader.entries_of_profile(who.trim())?;
    if entries.is_empty() {
        let message = format!("no entry of this ledger led to a profile {}", printable(who));
        return Err(Failure::new(Kind::Usage, message).hint(WHO));
    }
    Ok(entries)
}

/// What stands in a line, named as `LIST:N`.
fn line(reader: &Reader, place: &str) -> Result<LineOf, Failure> {
    let parsed = place
        .rsplit_once(':')
        .and_then(|(list, line)| Some((list, line.trim().parse::<u64>().ok().filter(|line| *line > 0)?)));
    let Some((list, number)) = parsed else {
        return Err(
            Failure::new(Kind::Usage, format!("{} is no line of a list", printable(place)))
                .hint("--line customers.csv:12 is line 12 of that list; `rollbook lists` shows the lists"),
        );
    };
    let source = Source::File(list.into());
    let list = reader.list(&source.name(), source.place().as_deref())?;
    reader.line_of(list.id, number)?.ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            format!("line {number} of {} holds no row", printable(&list.name)),
        )
        .hint("headers and empty lines hold none; a row of several lines has the number of its first one")
    })
}

fn rejected(
    place: &str,
    (reason, detail, excerpt): (&str, &str, &str),
    json: bool,
) -> Result<ExitCode, Failure> {
    if json {
        let object = serde_json::json!({
            "schema_version": SCHEMA_VERSION, "state": "rejected", "reason": reason, "detail": detail, "excerpt": excerpt,
        });
        print_json(&format!("{object}\n"))?;
    } else {
        let mut text = String::new();
        put(&mut text, "Line", place);
        put(&mut text, "State", &format!("rejected · {reason}"));
        put(&mut text, "Why", detail);
        put(&mut text, "It holds", excerpt);
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(story: &Story) -> String {
    let mut text = String::new();
    put(&mut text, "Email", &story.email);
    let reason = story.reason.as_ref().map(|reason| format!(" · {reason}"));
    put(
        &mut text,
        "State",
        &format!("{}{}", story.state, reason.unwrap_or_default()),
    );
    if let Some(profile) = &story.profile_id {
        put(&mut text, "Profile", profile);
    }
    text.push('\n');
    text += &timeline(&story.events);
    for line in &story.now {
        put(&mut text, "Now", line);
    }
    text
}

fn timeline(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        let at = event.at.map(moment).unwrap_or_default();
        text += &fit(
            &format!("{at:<TIME_COLUMNS$}{}", printable(&event.text)),
            TIME_COLUMNS,
        );
    }
    text
}

fn show_batch(reader: &Reader, no: BatchNo, json: bool) -> Result<ExitCode, Failure> {
    let batch = batch(reader, no)?;
    let events = of_batch_and_its_origin(reader, no)?;
    if json {
        let mut object = super::look::json(&batch);
        object["events"] = serde_json::to_value(&events).expect("BUG: events are always JSON");
        print_json(&format!("{object}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    put(&mut text, "Batch", &no.to_string());
    put(&mut text, "State", batch.state.as_str());
    if let Some(id) = &batch.batch_id {
        put(&mut text, "Batch id", id.as_str());
    }
    let outcome = &batch.outcome;
    let members = format!(
        "{}: {} confirmed, {} failed",
        counted(batch.size, "profile", "profiles"),
        count(outcome.confirmed),
        count(outcome.failed)
    );
    put(&mut text, "Members", &members);
    text.push('\n');
    print(&(text + &timeline(&events)))?;
    Ok(ExitCode::SUCCESS)
}

fn batch(reader: &Reader, no: BatchNo) -> Result<BatchRow, Failure> {
    reader.batch(no)?.ok_or_else(|| {
        Failure::new(Kind::Usage, format!("the ledger has no batch {no}"))
            .hint("`rollbook batches` shows them")
    })
}

/// `batches N`: the members of a batch.
pub fn members(no: BatchNo, args: JsonArg, common: &Common) -> Result<ExitCode, Failure> {
    let reader = Reader::open(&common.ledger)?;
    reader.freeze()?;
    batch(&reader, no)?;
    let members = reader.batch_members(no)?;
    if args.json {
        let line = |member: &MemberRow| {
            let object = serde_json::json!({
                "schema_version": SCHEMA_VERSION,
                "batch": no.0,
                "email": member.email,
                "profile_id": member.profile.as_str(),
                "state": member.state.as_str(),
                "reason": member.reason,
            });
            format!("{object}\n")
        };
        print_json(&members.iter().map(line).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{:<36}  {:<9}  {:<8}  EMAIL\n", "PROFILE ID", "STATE", "REASON");
    for member in &members {
        let _ = writeln!(
            text,
            "{:<36}  {:<9}  {:<8}  {}",
            printable(member.profile.as_str()),
            member.state,
            member.reason.as_deref().unwrap_or_default(),
            printable(&member.email)
        );
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `runs`.
pub fn runs(args: JsonArg, common: &Common) -> Result<ExitCode, Failure> {
    let holder = holder_of(&common.ledger);
    let runs = Reader::open(&common.ledger)?.runs()?;
    if args.json {
        print_json(
            &runs
                .iter()
                .map(|run| format!("{}\n", run_json(run)))
                .collect::<String>(),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        print("No runs yet.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!(
        "{:>4}  {:<7}  {:<19}  {:>12}  {:<10}  {:>9}  {:>7}  OPTIONS\n",
        "RUN", "VERB", "BEGAN (UTC)", "TOOK", "ENDED", "REQUESTS", "BATCHES"
    );
    for (nth, run) in runs.iter().enumerate() {
        let is_under_way = nth + 1 == runs.len() && holder.is_some();
        let until = run.ended_at.or(run.reported.map(|reported| reported.1));
        let took = until.map(|at| Duration::from_millis((at - run.started_at).max(0).unsigned_abs()));
        let ending = match (&run.ending, run.ended_at) {
            (Some(ending), Some(_)) => ending.as_str(),
            _ if is_under_way => "under way",
            _ => "killed",
        };
        let line = format!(
            "{:>4}  {:<7}  {:<19}  {:>12}  {:<10}  {:>9}  {:>7}  {}",
            run.id,
            run.verb,
            moment(run.started_at),
            took.map(duration).unwrap_or_default(),
            ending,
            run.reported.map(|reported| count(reported.0)).unwrap_or_default(),
            count(run.batches),
            options(run),
        );
        let _ = writeln!(text, "{}", printable(line.trim_end()));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The options of a run that a person may have chosen, as they are typed.
fn options(run: &RunRow) -> String {
    let Some(serde_json::Value::Object(all)) = run
        .options
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
    else {
        return String::new();
    };
    let shown = all.iter().filter_map(|(name, value)| {
        let flag = name
            .trim_end_matches("_seconds")
            .trim_end_matches("_ms")
            .replace('_', "-");
        match value {
            serde_json::Value::Null | serde_json::Value::Bool(false) => None,
            serde_json::Value::Bool(true) => Some(format!("--{flag}")),
            serde_json::Value::String(word) => Some(format!("--{flag} {word}")),
            other => Some(format!("--{flag} {other}")),
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn run_json(run: &RunRow) -> serde_json::Value {
    let options: Option<serde_json::Value> = run
        .options
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    serde_json::json!({
        "schema_version": SCHEMA_VERSION,
        "run": run.id,
        "verb": run.verb,
        "version": run.version,
        "started_at": iso_time(run.started_at),
        "ended_at": run.ended_at.and_then(iso_time),
        "ending": run.ending,
        "requests": run.reported.map(|reported| reported.0),
        "batches": run.batches,
        "options": options,
    })
}

/// What the tenant shows now of an entry's email and profiles.
fn now(reader: &Reader, history: &EntryHistory, connection: &ConnectionArgs) -> Result<Vec<String>, Failure> {
    let pinned = reader.job()?.map(|pinned| pinned.job.tenant);
    let base = settings::base_url(connection, pinned.as_deref())?;
    let token = settings::token(connection)?;
    settings::runtime()?.block_on(async {
        let tenant = settings::tenant(&base, &token, GENTLE, settings::as_guest(&base))?;
        ask_now(&tenant, history).await.map_err(|error| {
            Failure::new(
                Kind::Stopped,
                format!("the tenant cannot tell now: {}", why(error)),
            )
            .hint("without --now the story is told from the ledger alone")
        })
    })
}

async fn ask_now(tenant: &Paced<Client>, history: &EntryHistory) -> Result<Vec<String>, ReadFailure> {
    let asked = Email::from_ledger(&history.email);
    let page = tenant
        .read(Class::Lookup, |tenant| async move {
            tenant
                .profiles(Wanted::Email(asked.as_str()), Slice::usual(1))
                .await
        })
        .await?;
    let email = Email::from_ledger(&history.email);
    let bearing = bearers(&email, &page.items);
    let mut lines = vec![match bearing.len() {
        0 => "no profile bears this email".to_owned(),
        1 => format!("profile {} alone bears this email", bearing[0].profile.as_str()),
        several => format!("{several} profiles bear this email"),
    }];
    let mut profiles: Vec<ProfileId> = bearing.iter().map(|found| found.profile.clone()).collect();
    profiles.extend(history.profile.iter().chain(&history.candidates).cloned());
    profiles.sort();
    profiles.dedup();
    for profile in profiles {
        let id = profile.clone();
        let shown = tenant
            .read(Class::Settle, |tenant| async move { tenant.held_by(&id).await })
            .await;
        let shown = match shown {
            Ok(holding) => {
                let handles: Vec<&str> = holding.held.iter().map(Handle::as_str).collect();
                let has = if handles.is_empty() {
                    "no status".to_owned()
                } else {
                    handles.join(", ")
                };
                let email = holding.email.filter(|email| !email.is_empty());
                format!(
                    "has {has}; its email is {}",
                    email.as_deref().unwrap_or("not told")
                )
            }
            Err(ReadFailure::Missing) => "is gone (404)".to_owned(),
            Err(error) => return Err(error),
        };
        lines.push(format!("profile {} {shown}", profile.as_str()));
    }
    Ok(lines)
}

fn why(failure: ReadFailure) -> String {
    match failure {
        ReadFailure::Unreachable(why) | ReadFailure::Spoiled(why) => why,
        ReadFailure::SlowDown(_) => "it asks to slow down (429)".to_owned(),
        ReadFailure::Denied(refusal) | ReadFailure::Refused(refusal) => refusal.to_string(),
        ReadFailure::Missing => "there is no such route (404)".to_owned(),
        ReadFailure::Elsewhere => "it answers about another profile".to_owned(),
    }
}
