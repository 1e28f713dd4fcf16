//! The promises of the contract, held against a simulation.

use std::collections::{BTreeMap, BTreeSet};

use domain::audit::verify::{Found, verify};
use domain::audit::{Action, JobTrail as _, TrailLine};
use domain::cutoff::LEEWAY_SECONDS;
use domain::decision::{Refusal, TokenFacts};
use domain::job::{Fate, Job, Status};
use domain::ports::{JobStore as _, TokenStore as _};
use domain::time::{Clock as _, Epoch};
use domain::token::{RevokedBy, TokenKind};

use super::{NOW, World};
use crate::estate::Loss;

impl World {
    /// Whether what the job covers must be refused by now (`[CUT-1]`): somebody was told that it is effective.
    async fn is_acknowledged(&self) -> bool {
        let answered = self.accepted.as_ref().is_some_and(|job| job.effective_at.is_some());
        answered || self.job().await.is_some_and(|job| job.effective_at.is_some())
    }

    async fn verdict(&self, facts: &TokenFacts) -> Option<Refusal> {
        self.fleet.checker().check(facts).await.expect("CHECK-3: DynamoDB answers").refusal
    }

    /// At any moment: what is acknowledged is refused, and nobody else is.
    pub(super) async fn judge(&self) {
        let acknowledged = self.is_acknowledged().await;
        let victims = &self.loss.tokens;
        let now = Epoch::from(self.fleet.clock.now());
        let held = self.estate.held();
        for held in held.iter().filter(|held| held.is_live()) {
            let facts = held.facts(NOW);
            if facts.expires_at.plus(LEEWAY_SECONDS) <= now {
                continue;
            }
            let refusal = self.verdict(&facts).await;
            if victims.contains(&held.id) {
                assert!(
                    !acknowledged || refusal.is_some(),
                    "CUT-1: {} is accepted after the job is effective",
                    held.id
                );
            } else {
                assert_eq!(refusal, None, "SCOPE-6: {} is nobody's business", held.id);
            }
        }
        for (facts, must) in &self.refreshed {
            let Some(covered) = must.filter(|_| facts.expires_at > now) else { continue };
            let refusal = self.verdict(facts).await;
            if covered {
                assert!(!acknowledged || refusal.is_some(), "CUT-4: {:?}, refreshed, is accepted", facts.id);
            } else {
                assert_eq!(refusal, None, "SCOPE-6: {:?}, refreshed, is nobody's business", facts.id);
            }
        }
    }

    /// What the rows say the job took.
    async fn taken(&self, job: &Job) -> Loss {
        let ours = RevokedBy::Job(job.id.clone());
        let mut loss = Loss::default();
        for owner in self.estate.owners() {
            let holdings = self.fleet.store.holdings(&owner).await.unwrap();
            for token in &holdings.tokens {
                if token.revoked.as_ref().is_some_and(|revoked| revoked.by == ours) {
                    loss.lose_token(&owner, token.id.as_str(), token.kind == TokenKind::Refresh);
                }
            }
            for session in holdings.sessions.iter().filter(|session| session.ended_by.as_ref() == Some(&ours)) {
                loss.lose_session(&owner, session.id.as_str());
            }
        }
        loss
    }

    /// At the end: the job has ended, the rows are as they must be, and every number is what the rows say.
    pub async fn judge_the_end(&self) {
        let job = self.job().await.expect("there is a job");
        let wanted = if self.cancelled { Status::Cancelled } else { job.status };
        assert_eq!(job.status, wanted, "API-7: a cancelled job stays cancelled");
        let whole = job.status == Status::Completed;
        assert!(whole || job.status == Status::Cancelled, "the job ends: {:?}", job.status);
        assert!(!whole || job.effective_at.is_some(), "CUT-1: a completed job is effective");

        let taken = self.taken(&job).await;
        let known = &self.loss.tokens;
        let refreshed: BTreeSet<&str> = self.refreshed.iter().map(|(facts, _)| facts.id.as_str()).collect();
        let untouched = self.refreshed.iter().filter(|(_, must)| *must == Some(false));
        for (facts, _) in untouched {
            assert!(!taken.tokens.contains(facts.id.as_str()), "SCOPE-6: {:?} was revoked", facts.id);
        }
        let others = taken.tokens.iter().filter(|id| !known.contains(*id) && !refreshed.contains(id.as_str()));
        let others: Vec<_> = others.collect();
        assert!(others.is_empty(), "SCOPE-6: revoked, but not covered: {others:?}");
        if whole {
            let missing: Vec<_> = known.difference(&taken.tokens).collect();
            assert!(missing.is_empty(), "CUT-6: covered, but not revoked: {missing:?}");
            if self.refreshed.is_empty() {
                assert_eq!(taken.sessions, self.loss.sessions, "CUT-6: the sessions");
            }
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

        self.judge_the_mail(&job, &taken);
        self.judge_the_trail(&job).await;
        self.judge().await;
    }

    fn judge_the_mail(&self, job: &Job, taken: &Loss) {
        let mut told: BTreeMap<String, u32> = BTreeMap::new();
        for (mail, mark) in self.post.sent() {
            assert_eq!(mark.job, job.id, "MAIL-3");
            *told.entry(mail.to).or_default() += 1;
        }
        assert!(told.values().all(|times| *times == 1), "MAIL-3: somebody was told twice: {told:?}");
        assert!(job.notify_users || told.is_empty(), "MAIL-3: nobody was to be told");
        assert!(told.len() as u64 <= taken.users(), "MAIL-3: somebody was told who lost nothing");
    }

    async fn judge_the_trail(&self, job: &Job) {
        let trail = self.fleet.store.of_job(&job.id, None, 100).await.unwrap().items;
        let found = trail.clone().into_iter().map(|found| TrailLine::from(found).entry.unwrap().0.action);
        let mut actions: Vec<Action> = found.collect();
        actions.retain(|action| *action != Action::BatchLogoutFailed);
        let end =
            if job.status == Status::Cancelled { Action::BatchLogoutCancelled } else { Action::BatchLogoutCompleted };
        assert_eq!(actions, [end, Action::BatchLogoutInitiated], "AUDIT-1: each once, with what happened");
        let whole = trail.into_iter().filter(|found| matches!(found, Found::Entry(_))).count();
        assert!(whole >= 2);
        let (store, mut from, mut all) = (&self.fleet.store, None, Vec::new());
        loop {
            let chains = domain::audit::check::AuditReader::chains(store.as_ref(), from.as_deref()).await.unwrap();
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
        let mut entries = Vec::new();
        for chain in all {
            let mut from = None;
            loop {
                let page =
                    domain::audit::check::AuditReader::chain(store.as_ref(), &chain, from.as_deref()).await.unwrap();
                entries.extend(page.items);
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        let verdict = verify(entries, &domain::audit::head::Published::default());
        assert_eq!(verdict.defects, [], "AUDIT-2");
    }
}
