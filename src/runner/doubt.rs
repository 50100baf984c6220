//! Clearing up a batch of which nobody knows whether it arrived.
//!
//! The evidence is gathered here, look by look; what follows from it stands in [`crate::model::doubt`]. Three
//! things are asked, and all of them are reads: the tenant's list of batches, the batch's members, and the ledger
//! about what was sent later. What a look saw of the change is on the disk before anything is concluded, so that
//! no restart forgets it. The quiet period is counted on the monotonic clock of this process, from when sight was
//! lost or the process began: a restart waits all of it again.
//!
//! If the power goes after absence was concluded, the batch is sealed, with the absence beside it in the same
//! transaction, and is sent; before, it is in doubt, and everything is asked again.

use super::context::{Context, GaveUp, Halt};
use super::look::{MISSES_A_LOOK, Patience, Sight, look_at};
use crate::api::pacing::Class;
use crate::api::{BatchProgress, ListedBatch, Page, Tenant};
use crate::ledger::{Absence, Doubt, MemberFate, SealedMember, Settlement, Standing};
use crate::model::doubt::{self, Decision, Evidence, Later, Listed, Match, Sightings};
use crate::model::ids::{BatchId, BatchNo, ProfileId};
use std::collections::{HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Pages of the tenant's list that are read to get back to the time of a doubt.
pub const LIST_PAGES_LIMIT: u32 = 20;
/// Tries at a page of the list before a look goes on without it.
const LIST_TRIES: u32 = 3;
/// Batches in the list that are compared with ours, item by item, in one look.
const CANDIDATES_LIMIT: usize = 5;
/// How often a quiet period begins anew before nothing is waited for any more: a tenant that goes away again and again
/// would otherwise keep a run going for ever.
pub const ANEW_LIMIT: u32 = 10;
/// How much longer than the quiet period a batch is looked at that an earlier run waited for in vain.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How the clearing up of a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// The tenant has it under an id that is known now: it is settled like any other.
    Found,
    /// Every member's fate is known: so many show the change, so many failed.
    Reached(usize, usize),
    /// It never arrived: it is sealed again, with so many members.
    Absent(usize),
    /// Nothing cleared it up in the time allowed; why.
    Held(String),
}

/// What is doubted, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Doubted {
    /// Which batch.
    pub no: BatchNo,
    /// When this process lost sight of it, or began.
    pub since: Instant,
    /// Whether an earlier run has looked at it in vain already.
    pub again: bool,
}

/// Asks for the newest batch in the tenant's list, before this run sends anything.
///
/// Whatever stands below it later is older than all that the run sends; the order of the list says so, and no
/// clock is asked.
pub async fn note_baseline<T: Tenant>(context: &Context<T>) -> Result<(), Halt> {
    match list_page(context, 1).await {
        Ok(page) => {
            let newest = page.items.into_iter().next().map(|batch| batch.id);
            Ok(context.ledger.baseline(newest).await?)
        }
        // A list that cannot be read is a rung less, and no reason not to go on.
        Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)) => Ok(()),
        Err(GaveUp::Halt(halt)) => Err(halt),
    }
}

/// A page of the tenant's list. Whoever answers this question with errors, and no other, is soon asked no more.
pub async fn list_page<T: Tenant>(context: &Context<T>, number: u32) -> Result<Page<ListedBatch>, GaveUp> {
    let page = context
        .ask_within(Class::Settle, Some(LIST_TRIES), |tenant| async move {
            tenant.batches(number).await
        })
        .await;
    match page {
        Err(GaveUp::Halt(halt @ (Halt::Outage(_) | Halt::Later(_)))) => {
            Err(GaveUp::Refused(halt.to_string()))
        }
        page => page,
    }
}

/// Looks at a batch in doubt until it is decided or the time is up.
pub async fn clear_up<T: Tenant>(context: &Context<T>, doubted: Doubted) -> Result<Cleared, Halt> {
    let cleared = look_until_decided(context, doubted).await;
    quiet_ends(context).remove(&doubted.no);
    cleared
}

/// Batches that are being cleared up, and when the quiet period of each is over.
pub fn quiet_ends<T>(context: &Context<T>) -> MutexGuard<'_, HashMap<BatchNo, Instant>> {
    context.quiet_ends.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look_until_decided<T: Tenant>(context: &Context<T>, doubted: Doubted) -> Result<Cleared, Halt> {
    let no = doubted.no;
    let doubt = context.ledger.doubt(no).await?;
    let least = doubt::quiet_period(context.settings.quiet, doubt.longest);
    let quiet = doubt.quiet.max(least);
    context.ledger.require_quiet(no, quiet).await?;
    let ends = doubted.since + quiet;
    quiet_ends(context).insert(no, ends);
    let members = context.ledger.members(no).await?;
    let mut look = Look {
        context,
        no,
        quiet,
        quiet_ends: ends,
        anew: 0,
        others_end: None,
        moved: doubt.moved,
        foreign: HashSet::new(),
        seen: vec![None; members.len()],
        members,
        doubt,
    };
    let mut patience = Patience::new(look.time(doubted));
    loop {
        let time_is_up = patience.is_over() && look.ahead().is_none();
        let evidence = look.gather(time_is_up).await?;
        match doubt::decide(&evidence, context.settings.in_doubt) {
            Decision::Wait => {}
            Decision::Found { id, by_size } => {
                context.ledger.find(no, id, by_size).await?;
                return Ok(Cleared::Found);
            }
            Decision::Reached | Decision::Gone => return look.reached(doubted.since).await,
            Decision::Absent => return look.absent(&evidence, quiet).await,
            Decision::Hold(why) => {
                context.ledger.hold(no, why.clone()).await?;
                return Ok(Cleared::Held(why));
            }
        }
        match look.ahead() {
            Some(ends) => patience.next_look_by(context, ends).await?,
            None => drop(patience.next_look(context).await?),
        }
    }
}

/// What the looks at one batch remember between them.
struct Look<'c, T> {
    context: &'c Context<T>,
    no: BatchNo,
    doubt: Doubt,
    members: Vec<SealedMember>,
    /// The last sight of each member; those with the change, and the gone, are not asked again.
    seen: Vec<Option<Sight>>,
    moved: bool,
    quiet: Duration,
    quiet_ends: Instant,
    /// How often the quiet period began anew after an outage.
    anew: u32,
    /// Until when other batches are waited for that the tenant still works on, where it does.
    others_end: Option<Instant>,
    /// Batches in the list that turned out to be somebody else's.
    foreign: HashSet<BatchId>,
}

impl<T: Tenant> Look<'_, T> {
    /// How long to look, beside the quiet period where that is waited for. What an earlier run gave up on is only
    /// looked at for as long as something new can come of it.
    fn time(&self, doubted: Doubted) -> Duration {
        let settings = &self.context.settings;
        let verify = settings.in_doubt == doubt::InDoubt::Verify;
        if self.doubt.ruled_absent || (doubted.again && (self.moved || !verify)) {
            Duration::ZERO
        } else if doubted.again && self.waits_for_quiet() {
            settings.settle_deadline.min(LAST_LOOK)
        } else {
            settings.settle_deadline
        }
    }

    /// Whether the end of the quiet period can bring what decides, and is waited for.
    ///
    /// The deadline bounds how long a tenant may leave open what it could show. Before the end of the quiet period
    /// nothing can show that a request never arrived, and how long that is depends on how slow the tenant was seen
    /// to be: a deadline that counted this time, too, would at a slow tenant hold every batch that was lost, in this
    /// run and in each that follows. One that is shorter than any quiet period says that nobody wants to wait.
    fn waits_for_quiet(&self) -> bool {
        let settings = &self.context.settings;
        settings.in_doubt == doubt::InDoubt::Verify
            && settings.settle_deadline >= settings.quiet
            && !self.moved
            && !self.doubt.ruled_absent
    }

    /// The end of the quiet period, or of the time that other batches have, where it is waited for and still ahead.
    fn ahead(&self) -> Option<Instant> {
        let ends = self.others_end.unwrap_or(self.quiet_ends).max(self.quiet_ends);
        let may_become_quiet = self.anew < ANEW_LIMIT;
        (self.waits_for_quiet() && may_become_quiet && ends > Instant::now()).then_some(ends)
    }

    /// Those that the tenant is working on have as long to be settled as this one has to be decided, and until then
    /// nothing can be absent.
    fn mind_others(&mut self, later: Later) {
        let deadline = self.context.settings.settle_deadline;
        let end = || self.quiet_ends.max(Instant::now()) + deadline;
        self.others_end = match later {
            Later::Waiting => Some(self.others_end.unwrap_or_else(end)),
            Later::None | Later::Applied => None,
        };
    }

    /// One look at everything. What must be known *before* the members are looked at is asked first.
    async fn gather(&mut self, time_is_up: bool) -> Result<Evidence, Halt> {
        self.begin_anew_after_an_outage().await;
        let began = Instant::now();
        let quiet = began >= self.quiet_ends;
        let later = self.context.ledger.later(self.no).await?;
        self.mind_others(later);
        let listed = self.listed().await?;
        let ripe = quiet && later != Later::Waiting;
        self.look_at_members(ripe || time_is_up || self.doubt.ruled_absent)
            .await?;
        Ok(Evidence {
            listed,
            seen: self.count(),
            moved: self.moved,
            // An outage that this look sat through may have begun before the period was over.
            quiet: quiet && self.context.time_since(began).await.is_some(),
            later,
            ruled_absent: self.doubt.ruled_absent,
            time_is_up,
        })
    }

    /// While the tenant was away it may not have worked on anything either: none of that time was quiet.
    async fn begin_anew_after_an_outage(&mut self) {
        if let Some(ended) = self.context.tenant.gate().caught_up().await.outage_ended {
            if ended + self.quiet > self.quiet_ends {
                self.quiet_ends = ended + self.quiet;
                self.anew += 1;
            }
            quiet_ends(self.context).insert(self.no, self.quiet_ends);
        }
    }

    /// Looks at those who have not shown the change. Unless `everybody` is to be asked, a few who show nothing
    /// are enough to see that it is not time yet.
    async fn look_at_members(&mut self, everybody: bool) -> Result<(), Halt> {
        for sight in &mut self.seen {
            // An older sight of nothing says nothing about now.
            *sight = sight.filter(|sight| sight.fate().is_some());
        }
        let mut misses = 0;
        for position in 0..self.members.len() {
            if self.seen[position].is_some() {
                continue;
            }
            if misses >= MISSES_A_LOOK && (!everybody || self.moved) {
                break;
            }
            let sight = look_at(self.context, &self.members[position]).await?;
            self.seen[position] = Some(sight);
            if (sight.shows_all() || sight == Sight::Partly) && !self.moved {
                self.moved = true;
                self.context.ledger.moved(self.no).await?;
            }
            misses += usize::from(sight.fate().is_none());
        }
        Ok(())
    }

    fn count(&self) -> Sightings {
        // Whom another ledger saw without the change may have got it from anybody since: that alone proves nothing.
        let proves = |(member, sight): (&SealedMember, &Option<Sight>)| {
            !member.reused && sight.is_some_and(Sight::shows_all)
        };
        let proven = self.members.iter().zip(&self.seen).any(proves);
        let mut seen = Sightings::default();
        for sight in &self.seen {
            *match sight {
                Some(Sight::Changed | Sight::Renamed) if proven => &mut seen.changed,
                Some(Sight::Changed | Sight::Renamed | Sight::Partly) => &mut seen.partly,
                Some(Sight::Unchanged) => &mut seen.unchanged,
                Some(Sight::Gone) => &mut seen.gone,
                Some(Sight::Unanswered) | None => &mut seen.unknown,
            } += 1;
        }
        seen
    }

    /// What the tenant's list holds that could be this batch.
    async fn listed(&mut self) -> Result<Listed, Halt> {
        let Some(candidates) = self.candidates().await? else {
            let readable = self.doubt.list_is_readable;
            return Ok(if readable {
                Listed::Unclear
            } else {
                Listed::Unreadable
            });
        };
        // Against a person's word only what may still have an effect counts, so then each is asked for.
        let limit = if self.doubt.ruled_absent {
            usize::MAX
        } else {
            CANDIDATES_LIMIT
        };
        let mut possible = Vec::new();
        for candidate in candidates {
            if self.foreign.contains(&candidate.id) {
                continue;
            }
            if possible.len() == limit {
                return Ok(Listed::Several { finished: false });
            }
            let (matches, finished) = self.compare(&candidate.id).await?;
            match matches {
                Match::Ours => {
                    return Ok(Listed::One {
                        id: candidate.id,
                        identified: true,
                        finished,
                    });
                }
                Match::Possible => possible.push((candidate.id, finished)),
                Match::Foreign => {
                    self.foreign.insert(candidate.id);
                }
            }
        }
        let finished = possible.iter().all(|(_, finished)| *finished);
        Ok(match (possible.pop(), possible.is_empty()) {
            (None, _) => Listed::Nothing,
            // Another batch of ours with the same size and no id could be it as well.
            (Some((id, _)), true) if self.doubt.twins == 0 => Listed::One {
                id,
                identified: false,
                finished,
            },
            _ => Listed::Several { finished },
        })
    }

    /// Unknown batches of this size that stand above whatever is older than the doubtful request; `None` where
    /// the list cannot be read that far.
    async fn candidates(&self) -> Result<Option<Vec<ListedBatch>>, Halt> {
        let mut candidates = Vec::new();
        for number in 1..=LIST_PAGES_LIMIT {
            let page = match list_page(self.context, number).await {
                Ok(page) => page,
                Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)) => return Ok(None),
                Err(GaveUp::Halt(halt)) => return Err(halt),
            };
            let ids = page.items.iter().map(ListedBatch::ids).collect();
            let standings = self.context.ledger.recognise(self.no, ids).await?;
            for (batch, standing) in page.items.into_iter().zip(standings) {
                let size = self.members.len() as u64;
                match standing {
                    Standing::Before => return Ok(Some(candidates)),
                    Standing::Unknown if batch.size.is_none_or(|listed| listed == size) => {
                        candidates.push(batch);
                    }
                    Standing::Unknown | Standing::Known => {}
                }
            }
            if !page.more {
                return Ok(Some(candidates));
            }
        }
        Ok(None)
    }

    /// Whether a listed batch is for our members, and whether it is over.
    async fn compare(&self, id: &BatchId) -> Result<(Match, bool), Halt> {
        let members: HashSet<&ProfileId> = self.members.iter().map(|member| &member.profile).collect();
        match self
            .context
            .ask(Class::Settle, |tenant| async move { tenant.batch(id).await })
            .await
        {
            Ok(report) => {
                let finished = matches!(report.progress, BatchProgress::Success | BatchProgress::Failed);
                Ok((doubt::compare(&report.items, &members), finished))
            }
            Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)) => Ok((Match::Possible, false)),
            Err(GaveUp::Halt(halt)) => Err(halt),
        }
    }

    async fn reached(self, since: Instant) -> Result<Cleared, Halt> {
        let mut settlement = Settlement {
            rung: Some("reached"),
            took: self.context.time_since(since).await,
            ..Settlement::default()
        };
        let (mut changed, mut failed) = (0, 0);
        for (member, sight) in self.members.iter().zip(&self.seen) {
            let fate = sight
                .and_then(Sight::fate)
                .expect("BUG: a batch was decided before everybody was seen");
            *match fate {
                MemberFate::Confirmed(_) => &mut changed,
                MemberFate::Failed(..) => &mut failed,
            } += 1;
            settlement.fates.push((member.id, fate));
        }
        self.context.ledger.settle(self.no, settlement).await?;
        Ok(Cleared::Reached(changed, failed))
    }

    async fn absent(self, evidence: &Evidence, quiet: Duration) -> Result<Cleared, Halt> {
        let absence = Absence {
            quiet,
            members: evidence.seen.unchanged,
            later: evidence.later,
            listed: evidence.listed == Listed::Nothing,
        };
        self.context.ledger.absent(self.no, absence).await?;
        Ok(Cleared::Absent(self.members.len()))
    }
}
