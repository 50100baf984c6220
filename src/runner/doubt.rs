//! Clearing up a batch of which nobody knows whether it arrived.
//!
//! The evidence is gathered here, look by look; what follows from it stands in [`crate::model::doubt`]. Three
//! things are asked, and all of them are reads: the tenant's list of batches, the batch's members, and the ledger
//! about what was sent later. What a look saw of the change is on the disk before anything is concluded, so that
//! no restart forgets it. The maximum request lifetime is reckoned anew at every look, from all that is known by then;
//! it is counted on the monotonic clock of this process, from when sight was lost or the process began: a restart waits
//! all of it again. What rests on a lack is concluded only where two whole looks, some time apart, agree.
//!
//! If the power goes after absence was concluded, the batch is sealed, with the absence beside it in the same
//! transaction, and is sent; before, it is in doubt, and everything is asked again.

use super::context::{Context, GaveUp, Halt};
use super::lifetime::{looks_apart, processing_time, request_lifetime, was_unfinished};
use super::listing::{ListRead, is_finished, items_are_recognised, read_list};
use super::look::{Behind, MISSES_A_LOOK, Patience, Sight, look_at, shows_alone};
use crate::api::Tenant;
use crate::ledger::{Absence, Doubt, MemberFate, SealedMember, Settlement};
use crate::model::doubt::{self, Decision, Evidence, InDoubt, Later, Listed, Match, Sightings};
use crate::model::ids::{BatchId, BatchNo, Handle, ProfileId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Batches in the list that are compared with ours, item by item, in one look.
const CANDIDATES_LIMIT: usize = 5;
/// How often a lifetime begins anew before nothing is waited for any more: a tenant that goes away again and again
/// would otherwise keep a run going for ever.
pub const ANEW_LIMIT: u32 = 10;
/// How much longer than the lifetime a batch is looked at that an earlier run waited for in vain.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Confirmed entries among which one is chosen to see whether looks show changes, and how many are tried for a handle.
const EXAMPLES: usize = 100;
const EXAMPLES_TRIED: usize = 3;

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

/// Looks at a batch in doubt until it is decided or the time is up.
pub async fn clear_up<T: Tenant>(context: &Context<T>, doubted: Doubted) -> Result<Cleared, Halt> {
    let cleared = look_until_decided(context, doubted).await;
    lifetime_ends(context).remove(&doubted.no);
    if !matches!(cleared, Ok(Cleared::Found)) {
        context.processing.over(doubted.no);
    }
    cleared
}

/// Batches that are being cleared up, and when the maximum request lifetime of each is over.
pub fn lifetime_ends<T>(context: &Context<T>) -> MutexGuard<'_, HashMap<BatchNo, Instant>> {
    context
        .lifetime_ends
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

async fn look_until_decided<T: Tenant>(context: &Context<T>, doubted: Doubted) -> Result<Cleared, Halt> {
    let no = doubted.no;
    let doubt = context.ledger.doubt(no).await?;
    context
        .processing
        .watch(no, doubt.unfinished, doubt.sent_at, false);
    let members = context.ledger.members(no).await?;
    let mut look = Look {
        context,
        no,
        lifetime: doubt.lifetime,
        counted_from: doubted.since,
        anew: 0,
        effect_seen: doubt.effect_seen,
        foreign: HashSet::new(),
        seen: vec![None; members.len()],
        behind: vec![Behind::default(); members.len()],
        members,
        doubt,
    };
    look.reckon_lifetime().await?;
    let mut patience = Patience::new(look.time(doubted));
    let mut decided: Option<(Decision, Instant)> = None;
    loop {
        let time_is_up = patience.is_over() && look.ahead().is_none();
        let began = Instant::now();
        let evidence = look.gather(time_is_up).await?;
        let decision = doubt::decide(&evidence, context.settings.in_doubt);
        tracing::info!(
            ?decision,
            ?evidence,
            lifetime_ms = look.lifetime.as_millis() as u64,
            "doubt"
        );
        if decision.rests_on_lack(context.job.action, &evidence.seen) {
            let apart = looks_apart(context);
            if !matches!(&decided, Some((before, at)) if *before == decision && began >= *at + apart) {
                decided = Some((decision, began));
                look.forget();
                context.pause(apart).await?;
                continue;
            }
        }
        let looks_apart = decided.take().map_or(Duration::ZERO, |(_, at)| began - at);
        match decision {
            Decision::Wait => {}
            Decision::Found(id) => {
                context.ledger.find(no, id).await?;
                return Ok(Cleared::Found);
            }
            Decision::Reached | Decision::Gone => return look.reached(began).await,
            Decision::Absent => return look.absent(&evidence, looks_apart).await,
            Decision::Hold(why) => {
                context.ledger.hold(no, why.clone()).await?;
                return Ok(Cleared::Held(why));
            }
        }
        was_unfinished(context, no, began).await?;
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
    behind: Vec<Behind>,
    effect_seen: bool,
    /// The maximum request lifetime, and from when on it is counted.
    lifetime: Duration,
    counted_from: Instant,
    /// How often it began anew after an outage.
    anew: u32,
    /// Batches in the list that turned out to be somebody else's.
    foreign: HashSet<BatchId>,
}

impl<T: Tenant> Look<'_, T> {
    /// How long to look. What an earlier run gave up on is only looked at for as long as something new can come of it.
    fn time(&self, doubted: Doubted) -> Duration {
        let deadline = self.context.settings.settle_deadline;
        if self.doubt.ruled_absent || (doubted.again && !self.may_become_absent()) {
            Duration::ZERO
        } else if doubted.again {
            deadline.min(LAST_LOOK)
        } else {
            deadline
        }
    }

    /// Whether the end of the lifetime can bring what decides, and is waited for: not beyond the deadline.
    fn may_become_absent(&self) -> bool {
        let settings = &self.context.settings;
        let by_evidence = settings.in_doubt == InDoubt::Verify
            && self.lifetime <= settings.settle_deadline
            && !self.doubt.absent_before;
        !self.effect_seen && (by_evidence || self.doubt.ruled_absent)
    }

    /// When the lifetime is over. A person's word needs no more of it than the time that a batch is looked at.
    fn ends(&self) -> Instant {
        self.counted_from
            + if self.doubt.ruled_absent {
                self.lifetime.min(self.context.settings.settle_deadline)
            } else {
                self.lifetime
            }
    }

    /// The end of the lifetime, where it is waited for and still ahead.
    fn ahead(&self) -> Option<Instant> {
        let ends = self.ends();
        (self.may_become_absent() && self.anew < ANEW_LIMIT && ends > Instant::now()).then_some(ends)
    }

    /// One look at everything. What must be known *before* the members are looked at is asked first.
    async fn gather(&mut self, time_is_up: bool) -> Result<Evidence, Halt> {
        self.begin_anew_after_an_outage().await;
        self.reckon_lifetime().await?;
        let began = Instant::now();
        let over = began >= self.ends();
        let later = self.context.ledger.later(self.no).await?;
        let listed = self.listed().await?;
        let ripe = over && later != Later::Waiting;
        self.look_at_members(ripe || time_is_up || self.doubt.ruled_absent)
            .await?;
        let seen = self.count();
        let looks_calibrated = ripe && seen.none_changed() && self.looks_are_calibrated().await?;
        // What was learned during this look may have made the lifetime longer.
        self.reckon_lifetime().await?;
        let over = over && began >= self.ends();
        Ok(Evidence {
            listed,
            seen,
            turned: self.any_turned(),
            effect_seen: self.effect_seen,
            // An outage that this look sat through may have begun before the lifetime was over.
            lifetime_over: over && self.context.time_since(began).await.is_some(),
            later,
            looks_calibrated,
            absent_before: self.doubt.absent_before,
            ruled_absent: self.doubt.ruled_absent,
            time_is_up,
        })
    }

    /// From all that is known by now; it never becomes less.
    async fn reckon_lifetime(&mut self) -> Result<(), Halt> {
        let lifetime = request_lifetime(self.context).await?;
        if lifetime > self.lifetime {
            self.lifetime = lifetime;
            self.context.ledger.require_lifetime(self.no, lifetime).await?;
        }
        lifetime_ends(self.context).insert(self.no, self.ends());
        Ok(())
    }

    /// While the tenant was away it may not have worked on anything either: none of that time counts.
    async fn begin_anew_after_an_outage(&mut self) {
        if let Some(ended) = self.context.tenant.gate().caught_up().await.outage_ended
            && ended > self.counted_from
        {
            self.counted_from = ended;
            self.anew += 1;
        }
    }

    /// Everybody is asked again.
    fn forget(&mut self) {
        self.seen.fill(None);
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
            if misses >= MISSES_A_LOOK && (!everybody || self.effect_seen) {
                break;
            }
            let looked = Instant::now();
            let member = &mut self.members[position];
            let sight = look_at(self.context, member).await?;
            self.behind[position].note(self.context, member, sight, looked);
            self.seen[position] = Some(sight);
            if (sight.shows_all() || sight == Sight::Partly) && !self.effect_seen {
                self.effect_seen = true;
                self.context.ledger.moved(self.no).await?;
            }
            misses += usize::from(sight.fate().is_none());
        }
        Ok(())
    }

    fn count(&self) -> Sightings {
        let mut seen = Sightings::default();
        for sight in &self.seen {
            *match sight {
                Some(Sight::Changed | Sight::Renamed) => &mut seen.changed,
                Some(Sight::Partly) => &mut seen.partly,
                Some(Sight::Unchanged) => &mut seen.unchanged,
                Some(Sight::Gone) => &mut seen.gone,
                Some(Sight::Stale | Sight::Bare | Sight::Unanswered) | None => &mut seen.unknown,
            } += 1;
        }
        seen
    }

    /// Whether one that shows the change was looked up without it by this ledger.
    fn any_turned(&self) -> bool {
        let turned = |(member, sight): (&SealedMember, &Option<Sight>)| {
            !member.reused && sight.is_some_and(Sight::shows_all)
        };
        self.members.iter().zip(&self.seen).any(turned)
    }

    /// Whether a look at a single profile shows a change of this job, for each handle that this batch changes: nobody
    /// can be called unchanged by a kind of look that has never shown a change.
    async fn looks_are_calibrated(&self) -> Result<bool, Halt> {
        let job = &self.context.job;
        let needed = |member: &SealedMember| job.action.needed(&job.handles, &member.held);
        // In their order: a simulation must be able to repeat itself.
        let wanted: BTreeSet<Handle> = self.members.iter().flat_map(needed).collect();
        let is_known = |handle: &Handle| self.calibrated_on(handle).is_some();
        if wanted.iter().all(is_known) {
            return Ok(true);
        }
        let examples = self.context.ledger.confirmed_last(EXAMPLES).await?;
        for handle in wanted {
            let got_it = |example: &&SealedMember| needed(example).contains(&handle);
            for example in examples.iter().filter(got_it).take(EXAMPLES_TRIED) {
                if self.calibrated_on(&handle).is_some() {
                    break;
                }
                if shows_alone(self.context, example, &handle).await? {
                    let known = self.context.calibrated.lock();
                    let mut known = known.unwrap_or_else(PoisonError::into_inner);
                    known.handles.insert(handle.clone(), example.profile.clone());
                }
            }
            if self.calibrated_on(&handle).is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The profile on which a look has shown a change of this handle.
    fn calibrated_on(&self, handle: &Handle) -> Option<ProfileId> {
        let known = self.context.calibrated.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .handles
            .get(handle)
            .cloned()
    }

    /// What the tenant's list holds that could be this batch.
    async fn listed(&mut self) -> Result<Listed, Halt> {
        let began = self.doubt.began;
        let reading = match read_list(self.context, began).await? {
            ListRead::Rows(reading) => reading,
            ListRead::Missing if !self.doubt.list_is_readable => return Ok(Listed::Unreadable),
            ListRead::Missing | ListRead::Failed => {
                return Ok(Listed::Unclear("the tenant's list of batches could not be read"));
            }
        };
        let accepted = self.context.ledger.accepted_last().await?;
        // Against a person's word only what may still have an effect counts, so then each is asked for.
        let limit = if self.doubt.ruled_absent {
            usize::MAX
        } else {
            CANDIDATES_LIMIT
        };
        let (mut ours, mut possible) = (None, None);
        let mut asked = 0;
        for row in reading.candidates(began, self.members.len() as u64) {
            if self.foreign.contains(&row.id) {
                continue;
            }
            asked += 1;
            let (matches, finished) = if asked > limit {
                (Match::Possible, Some(false))
            } else {
                self.compare(&row.id).await?
            };
            // Of what the tenant does not answer for alone, its list may say how far it is.
            let finished = match row.ruled_over {
                true => Some(true),
                false => finished.or(row.finished),
            };
            match matches {
                Match::Ours => drop(ours.get_or_insert(row.id.clone())),
                Match::Foreign if items_are_recognised(self.context).await? => {
                    self.foreign.insert(row.id.clone());
                    continue;
                }
                Match::Possible | Match::Foreign => {}
            }
            possible = Some(match (possible, finished) {
                (Some(Some(false)), _) | (_, Some(false)) => Some(false),
                (Some(None), _) | (_, None) => None,
                _ => Some(true),
            });
            if asked > limit {
                break;
            }
        }
        Ok(match (ours, possible) {
            (Some(id), Some(finished)) => Listed::Identified { id, finished },
            (_, possible) => reading.verdict(began, &accepted, possible),
        })
    }

    /// Whether a listed batch is for our members, and whether it is over, as far as the tenant says.
    async fn compare(&self, id: &BatchId) -> Result<(Match, Option<bool>), Halt> {
        let members: HashSet<&ProfileId> = self.members.iter().map(|member| &member.profile).collect();
        match self.context.ask_how_far(id).await {
            Ok(report) => Ok((
                doubt::compare(&report.items, &members),
                is_finished(report.progress),
            )),
            Err(GaveUp::Halt(halt)) => Err(halt),
            Err(_) => Ok((Match::Possible, None)),
        }
    }

    async fn reached(self, looked: Instant) -> Result<Cleared, Halt> {
        let mut settlement = Settlement {
            rung: Some("reached"),
            took: processing_time(self.context, self.no, looked).await,
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

    async fn absent(self, evidence: &Evidence, looks_apart: Duration) -> Result<Cleared, Halt> {
        let job = &self.context.job;
        let handle = self
            .members
            .iter()
            .find_map(|member| job.action.needed(&job.handles, &member.held).into_iter().next());
        let absence = Absence {
            lifetime: self.lifetime,
            looks_apart,
            members: evidence.seen.unchanged,
            later: evidence.later,
            listed: evidence.listed == Listed::Nothing,
            effect_seen_on: handle.and_then(|handle| self.calibrated_on(&handle)),
        };
        self.context.ledger.absent(self.no, absence).await?;
        Ok(Cleared::Absent(self.members.len()))
    }
}
