//! The promises of the contract, held against a simulation: after every step, where it may have changed anything.

use std::collections::{BTreeMap, BTreeSet};

use domain::audit::check::AuditReader as _;
use domain::audit::head::Published;
use domain::audit::verify::{Found, verify};
use domain::audit::{Action, JobTrail as _, TrailLine};
use domain::check::Checker;
use domain::cutoff::LEEWAY_SECONDS;
use domain::decision::{Refusal, TokenFacts};
use domain::guard::LEASE_SECONDS;
use domain::ids::UserId;
use domain::job::{Fate, Job, Statistics, Status};
use domain::notify::{NoticeCounts, Outcome};
use domain::ports::{JobStore as _, TokenStore as _};
use domain::time::{Clock as _, Epoch};
use domain::token::{RevokedBy, TokenKind};

use super::cluster::Seat;
use super::{NOW, Work, World};
use crate::estate::{Effective, Loss};

/// Somebody who decides whether tokens are good: with a clock and a connection of their own.
pub(super) struct Verifier {
    pub(super) checker: Checker,
    pub(super) seat: std::sync::Arc<Seat>,
    pub(super) clock: std::sync::Arc<domain::testing::TestClock>,
    /// What they had seen when they were last asked.
    pub(super) seen: Option<Seen>,
}

/// All that a verifier's answers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    view: Result<(usize, u64), [usize; 5]>,
    now: Epoch,
    acknowledged: bool,
    signed_out: usize,
    refreshed: usize,
}

/// What was seen of the job after the last step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progress {
    status: Option<Status>,
    effective: bool,
    statistics: Statistics,
    audit: usize,
}

impl World {
    /// Whether what the job covers must be refused by now (`[CUT-1]`): somebody was told that it is effective, or Redis was
    /// given up for it and whatever believed it has lapsed.
    fn is_acknowledged(&self) -> bool {
        let answered = self.accepted.as_ref().is_some_and(|job| job.effective_at.is_some());
        let lapsed = self.distrusted_until.is_some_and(|until| until <= Epoch::from(self.now()));
        answered || lapsed || self.fleet.store.jobs(|jobs| jobs.values().any(|job| job.effective_at.is_some()))
    }

    /// At any moment: what is acknowledged is refused, and nobody else is. Verifiers are asked whose answers may have
    /// changed since they were last asked.
    pub(super) async fn judge(&mut self) {
        let (acknowledged, size) = (self.is_acknowledged(), self.fleet.store.denylist_size());
        let (signed_out, refreshed) = (self.sign_outs.len(), self.refreshed.len());
        let mut verifiers = std::mem::take(&mut self.verifiers);
        for verifier in &mut verifiers {
            let view = verifier.seat.view().ok_or(size);
            let now = Epoch::from(verifier.clock.now());
            let seen = Seen { view, now, acknowledged, signed_out, refreshed };
            if verifier.seen != Some(seen) {
                self.ask(verifier, seen).await;
                verifier.seen = Some(seen);
            }
        }
        self.verifiers = verifiers;
    }

    async fn ask(&self, verifier: &Verifier, seen: Seen) {
        let all = self.scene.live.iter().map(|live| (&live.facts, Some(live.covered)));
        let all = all.chain(self.refreshed.iter().map(|(facts, must)| (facts, *must)));
        for (facts, covered) in all {
            // Token by token, a job denies no token whose row says that it was ended already; whoever wrote that has.
            let by_tokens = self.scene.wish.effective() == Effective::Settled;
            let covered = covered.filter(|_| !by_tokens || !self.ended.contains_key(&facts.id));
            let must_be_refused = covered == Some(true) && seen.acknowledged;
            // A covered token may be refused from any moment on.
            if covered == Some(true) && !must_be_refused {
                continue;
            }
            let refusal = verifier.checker.check(facts).await.expect("CHECK-3: DynamoDB answers").refusal;
            if must_be_refused {
                let rule = if facts.issued_at.0 > NOW + 30 { "CUT-4" } else { "CUT-1" };
                assert!(refusal.is_some(), "{rule}: {} is accepted after the job is effective", facts.id);
            }
            if covered == Some(false) {
                self.judge_refusal(facts, refusal.as_ref(), seen.now);
            }
            let signed_out = facts.user.as_ref().and_then(|user| self.last_sign_out(user, true));
            if signed_out.is_some_and(|at| facts.signed_in_at <= at) {
                assert!(refusal.is_some(), "SESS-1: {} is accepted after its user signed out everywhere", facts.id);
            }
        }
    }

    /// Whoever is not covered by the job is refused only for what they did themselves.
    fn judge_refusal(&self, facts: &TokenFacts, refusal: Option<&Refusal>, now: Epoch) {
        let fair = match refusal {
            None => true,
            Some(Refusal::Expired) => facts.expires_at.plus(LEEWAY_SECONDS) <= now,
            Some(Refusal::CutOff(_)) => {
                let signed_out = facts.user.as_ref().and_then(|user| self.last_sign_out(user, false));
                signed_out.is_some_and(|at| facts.signed_in_at <= at)
            }
            Some(Refusal::TokenRevoked | Refusal::SignInTooOld) => false,
        };
        assert!(fair, "SCOPE-6: {} is nobody's business: {refusal:?}", facts.id);
    }

    /// The latest moment at which a user signed out everywhere, and was told so or has only asked for it.
    fn last_sign_out(&self, user: &UserId, told: bool) -> Option<Epoch> {
        let of_user = self.sign_outs.iter().filter(|out| &out.user == user && (out.told || !told));
        of_user.map(|out| out.at).max()
    }

    /// After every step: the job goes no way that it cannot go, no number is ahead of the rows, the trail is whole.
    pub(super) async fn judge_progress(&mut self) {
        let seen = self.fleet.store.jobs(|jobs| {
            assert!(jobs.len() <= 1, "API-5: one request made two jobs");
            jobs.values().next().map(|job| (job.id.clone(), job.status, job.effective_at))
        });
        let Some((id, status, effective_at)) = seen else { return };
        let before = &self.progress;
        if let Some(before) = before.status
            && before != status
        {
            assert!(before.may_become(status), "API-6: {before:?} became {status:?}");
        }
        assert!(!before.effective || effective_at.is_some(), "CUT-1: effective no more");
        let statistics = self.fleet.store.tally(&id).await.unwrap().statistics;
        let statistics = Statistics { errors: 0, ..statistics };
        if statistics != before.statistics {
            let facts = self.taken(&id).await.statistics();
            let ahead = statistics.zip(facts, u64::saturating_sub);
            assert_eq!(ahead, Statistics::default(), "SCOPE-7: {statistics:?} is said, {facts:?} is so");
        }
        let since = |step: u64| self.processes.iter().filter(move |process| process.began <= step);
        if let Some(step) = self.cancelled
            && self.taken_at_cancel.is_none()
            && since(step).next().is_none()
        {
            self.taken_at_cancel = Some(self.taken(&id).await.statistics());
        }
        // A guard that was under way by then may still renew what it does not know to be distrusted.
        if let Some(step) = self.distrusted
            && self.distrusted_until.is_none()
            && !since(step).any(|process| process.work == Work::Guard)
        {
            self.distrusted_until = Some(Epoch::from(self.now()).plus(LEASE_SECONDS.cast_signed()));
        }
        let audit = self.fleet.store.audit_size();
        if audit != before.audit {
            self.judge_the_chains().await;
        }
        self.progress = Progress { status: Some(status), effective: effective_at.is_some(), statistics, audit };
    }

    /// What the rows say the job took.
    async fn taken(&self, job: &domain::ids::JobId) -> Loss {
        let ours = RevokedBy::Job(job.clone());
        let mut loss = Loss::default();
        for owner in &self.scene.owners {
            let holdings = self.fleet.store.holdings(owner).await.unwrap();
            for token in &holdings.tokens {
                if token.revoked.as_ref().is_some_and(|revoked| revoked.by == ours) {
                    loss.lose_token(owner, token.id.as_str(), token.kind == TokenKind::Refresh);
                }
            }
            for session in holdings.sessions.iter().filter(|session| session.ended_by.as_ref() == Some(&ours)) {
                loss.lose_session(owner, session.id.as_str());
            }
        }
        loss
    }

    /// At the end: the job has ended, the rows are as they must be, and every number is what the rows say.
    pub async fn judge_the_end(&mut self) {
        let job = self.job().expect("there is a job");
        let wanted = if self.cancelled.is_some() { Status::Cancelled } else { job.status };
        assert_eq!(job.status, wanted, "API-7: a cancelled job stays cancelled");
        let whole = job.status == Status::Completed;
        assert!(whole || job.status == Status::Cancelled, "the job ends: {:?}", job.status);
        assert!(!whole || job.effective_at.is_some(), "CUT-1: a completed job is effective");

        let taken = self.taken(&job.id).await;
        let known = &self.scene.loss.tokens;
        let refreshed: BTreeSet<&str> = self.refreshed.iter().map(|(facts, _)| facts.id.as_str()).collect();
        let untouched = self.refreshed.iter().filter(|(_, must)| *must == Some(false));
        for (facts, _) in untouched {
            assert!(!taken.tokens.contains(facts.id.as_str()), "SCOPE-6: {:?} was revoked", facts.id);
        }
        let others = taken.tokens.iter().filter(|id| !known.contains(*id) && !refreshed.contains(id.as_str()));
        let others: Vec<_> = others.collect();
        assert!(others.is_empty(), "SCOPE-6: revoked, but not covered: {others:?}");
        if whole {
            let is_ended = |id: &str| self.ended.keys().any(|ended| ended.as_str() == id);
            let missing: Vec<_> = known.difference(&taken.tokens).filter(|id| !is_ended(id)).collect();
            assert!(missing.is_empty(), "CUT-6: covered, but not revoked: {missing:?}");
            if self.refreshed.is_empty() && self.ended.is_empty() {
                assert_eq!(taken.sessions, self.scene.loss.sessions, "CUT-6: the sessions");
            }
        }

        for (id, (owner, by)) in &self.ended {
            let row = self.fleet.store.token(owner, id).await.unwrap().unwrap();
            assert_eq!(&row.revoked.unwrap().by, by, "SCOPE-7: {id} was ended before, and not by the job");
        }

        let mut recorded = BTreeMap::new();
        for chunk in 0..job.plan.chunks {
            for (owner, facts) in self.fleet.store.affected(&job.id, chunk, Fate::Lost).await.unwrap() {
                assert!(recorded.insert(owner.clone(), facts).is_none(), "SCOPE-1: {owner:?} is in two chunks");
            }
        }
        recorded.retain(|_, facts| !facts.is_nothing());
        assert_eq!(recorded, taken.owners, "SCOPE-7: the affected users are what the rows say");
        let tally = self.fleet.store.tally(&job.id).await.unwrap();
        assert_eq!(tally.statistics, taken.statistics(), "SCOPE-7: the statistics are what the rows say");
        if let Some(then) = self.taken_at_cancel {
            assert_eq!(taken.statistics(), then, "API-7: a chunk started after the cancel was answered");
        }

        self.judge_the_notices(&job, tally.notices).await;
        self.judge_the_trail(&job).await;
        for verifier in &mut self.verifiers {
            verifier.seen = None;
        }
        self.judge().await;
    }

    /// Nobody is told twice, nobody is told who is not to be.
    pub(super) fn judge_the_mail(&self) {
        let mut told: BTreeMap<String, u32> = BTreeMap::new();
        for (mail, _) in self.post.sent() {
            *told.entry(mail.to).or_default() += 1;
        }
        assert!(told.values().all(|times| *times == 1), "MAIL-3: somebody was told twice: {told:?}");
        assert!(self.request.notify_users || told.is_empty(), "MAIL-3: nobody was to be told");
    }

    /// Of every affected user it is known where their notice stands; what was sent was sent; the sums are those.
    async fn judge_the_notices(&self, job: &Job, counted: NoticeCounts) {
        self.judge_the_mail();
        let mut sent: BTreeSet<String> = BTreeSet::new();
        for (mail, mark) in self.post.sent() {
            assert_eq!(mark.job, job.id, "MAIL-3");
            sent.insert(mail.to);
        }
        let mut counts = NoticeCounts::default();
        for chunk in 0..job.plan.chunks {
            let affected = self.fleet.store.affected_users(&job.id, chunk, None, 1_000).await.unwrap();
            for line in affected {
                let Some(told) = line.notice else {
                    assert!(!job.notify_users, "MAIL-1: {} was not told", line.user);
                    continue;
                };
                let address = format!("{}@example.com", line.user);
                let was_sent = sent.remove(&address);
                let has_address = self.scene.addressed.contains(&line.user);
                match &told.outcome {
                    Some(Outcome::Sent) => assert!(was_sent, "MAIL-3: nothing was sent to {}", line.user),
                    Some(Outcome::NoAddress) => assert!(!has_address, "MAIL-1: {} has an address", line.user),
                    Some(Outcome::Unknown) | None => {}
                    Some(Outcome::Rejected(why)) => panic!("nothing is rejected here: {why}"),
                }
                counts.add(&told, self.now());
            }
        }
        assert!(sent.is_empty(), "MAIL-3: told who lost nothing: {sent:?}");
        assert_eq!(counted, counts, "MAIL-3: the notices are counted as they stand");
    }

    async fn judge_the_trail(&self, job: &Job) {
        let trail = self.fleet.store.of_job(&job.id, None, 100).await.unwrap().items;
        let found = trail.into_iter().map(|found| TrailLine::from(found).entry.unwrap().0.action);
        let mut actions: Vec<Action> = found.collect();
        actions.retain(|action| *action != Action::BatchLogoutFailed);
        let end =
            if job.status == Status::Cancelled { Action::BatchLogoutCancelled } else { Action::BatchLogoutCompleted };
        assert_eq!(actions, [end, Action::BatchLogoutInitiated], "AUDIT-1: each once, with what happened");
        self.judge_the_chains().await;
    }

    async fn judge_the_chains(&self) {
        let (store, mut from, mut all) = (&self.fleet.store, None, Vec::new());
        loop {
            let chains = store.chains(from.as_deref()).await.unwrap();
            for chain in chains.items.into_iter().map(Result::unwrap) {
                if !all.contains(&chain) {
                    all.push(chain);
                }
            }
            from = chains.next;
            if from.is_none() {
                break;
            }
        }
        let mut entries: Vec<Found> = Vec::new();
        for chain in all {
            let mut from = None;
            loop {
                let page = store.chain(&chain, from.as_deref()).await.unwrap();
                entries.extend(page.items);
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        assert_eq!(entries.len(), store.audit_size(), "AUDIT-2: every entry is in a chain");
        assert_eq!(verify(entries, &Published::default()).defects, [], "AUDIT-2");
    }
}
