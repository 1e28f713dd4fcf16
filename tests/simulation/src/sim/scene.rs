//! What a simulation begins with: a company, a job over it, and who must lose what by it. Made once for many schedules.

use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::decision::TokenFacts;
use domain::ids::{ClientId, JobId, UserId};
use domain::ports::{DenylistStore as _, RecordStore as _};
use domain::records::{Change, Entity};
use domain::testing::Memory;
use domain::time::Epoch;
use domain::token::Owner;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::NOW;
use crate::estate::{CLIENTS, Estate, Loss, Wish, drafts, estates, oracle, user_name};

/// A token that is live when the job starts.
#[derive(Debug, Clone)]
pub struct Live {
    /// The token.
    pub facts: TokenFacts,
    /// Whether the job covers it.
    pub covered: bool,
    /// Whether its sign-in is known.
    pub of_a_sign_in: bool,
    /// Whether the job means its user at all.
    pub is_meant: bool,
}

/// A company, a job, and the oracle's word on them.
pub struct Scene {
    pub(super) wish: Wish,
    /// Who must lose what.
    pub(super) loss: Loss,
    pub(super) live: Vec<Live>,
    pub(super) owners: Vec<Owner>,
    /// Users who can be told.
    pub(super) addressed: Vec<UserId>,
    /// A store that holds the company.
    pub(super) store: Memory,
}

/// A cutoff of long ago, which hits nobody any more.
fn of_long_ago(scope: Scope, basis: Basis) -> Cutoff {
    Cutoff {
        scope,
        basis,
        kinds: Kinds::Both,
        spares: Spares::default(),
        at: Epoch(NOW - 1_000_000),
        job: JobId::parse("long-ago").unwrap(),
        retires_at: Epoch(NOW + 1_000_000),
    }
}

impl Scene {
    /// A small company and a job of a kind, by their number.
    pub async fn draw(number: u64, kind: usize) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
        let (estate, draft) = (estates(1..6, 2), drafts(kind..=kind, 3)).new_tree(&mut runner).unwrap().current();
        let wish = draft.fit(&estate);
        Self::of(&estate, wish).await
    }

    async fn of(estate: &Estate, wish: Wish) -> Self {
        let loss = oracle(estate, &wish);
        let (store, mut addressed) = (Memory::default(), Vec::new());
        for mut record in estate.records(NOW) {
            if let Change::Upsert(Entity::User(user)) = &mut record.change {
                user.email = Some(format!("{}@example.com", user.id));
                addressed.push(user.id.clone());
            }
            store.apply(&record).await.unwrap();
        }
        // What was cut off before must neither hide the job's cutoffs nor come back in their place.
        let users = (0..estate.people.len()).map(|user| Scope::User(user_name(user)));
        let clients = CLIENTS.into_iter().map(|client| Scope::Client(ClientId::parse(client).unwrap()));
        let before: Vec<Cutoff> = users
            .chain(clients)
            .chain([Scope::Everything])
            .flat_map(|scope| [Basis::SignIn, Basis::Issued].map(|basis| of_long_ago(scope.clone(), basis)))
            .collect();
        store.put_cutoffs(&before).await.unwrap();
        let held = estate.held();
        let live = held.iter().filter(|held| held.is_live()).map(|held| Live {
            facts: held.facts(NOW),
            covered: loss.tokens.contains(&held.id),
            of_a_sign_in: held.sign_in.is_some(),
            is_meant: held.user.is_some_and(|user| wish.means(estate, user)),
        });
        let live = live.collect();
        Self { live, owners: estate.owners(), addressed, store, loss, wish }
    }
}
