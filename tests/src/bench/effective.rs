//! Time from a group job's acceptance to "every verifier refuses": by the number of tokens that a fixed number of users
//! hold, and by the number of users.

use domain::ports::{JobStore as _, NewJob};
use domain::time::{Clock as _, SystemClock};

use super::figure::{Figure, number};
use super::job::{Company, Site};
use crate::environment::unique;

const USERS: u32 = 1_000;
const TOKENS: [u32; 4] = [1, 10, 100, 1_000];
const TOKEN_ROUNDS: usize = 9;
const MORE_USERS: [u32; 2] = [10_000, 100_000];
const USER_ROUNDS: usize = 3;

/// Milliseconds until a job of the whole company is effective.
async fn millis(site: &Site, company: Company) -> f64 {
    let fleet = &site.fleet;
    let job = company.job(&unique("job"), SystemClock.now());
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let mut planner = fleet.planner();
    planner.effector.clock = std::sync::Arc::new(SystemClock);
    let deadline = SystemClock.now() + chrono::TimeDelta::minutes(10);
    planner.plan(&job.id, deadline).await.unwrap();
    let done = fleet.job(&job.id).await;
    assert_eq!(done.plan.users, u64::from(company.users));
    let waited = done.effective_at.unwrap() - job.created_at;
    number(waited.num_milliseconds().unsigned_abs())
}

/// Measures, the companies in turn.
pub async fn run() -> Vec<Figure> {
    let company = |users, tokens| Company::of("ef", users, tokens);
    let mut sites = Vec::new();
    for tokens in TOKENS {
        sites.push((Site::with(company(USERS, tokens)).await, company(USERS, tokens)));
    }
    let mut rounds = Vec::new();
    for _ in 0..TOKEN_ROUNDS {
        let mut of_round = Vec::new();
        for (site, company) in &sites {
            of_round.push(millis(site, *company).await);
        }
        rounds.push(of_round);
    }
    let mut figures = Vec::new();
    for (at, (_, company)) in sites.iter().enumerate().skip(1) {
        let name = format!("time to effective, group of {USERS} users with {} tokens", company.all());
        let pairs = rounds.iter().map(|round| (round[at], round[0])).collect();
        figures.push(Figure::measured(name, "ms", format!("as many users with {} tokens", sites[0].1.all()), pairs));
    }
    let (smallest, _) = sites.swap_remove(0);
    for users in MORE_USERS {
        let site = Site::with(company(users, 0)).await;
        let mut pairs = Vec::new();
        for _ in 0..USER_ROUNDS {
            let each = millis(&site, company(users, 0)).await / f64::from(users) * 1e3;
            pairs.push((each, millis(&smallest, company(USERS, 1)).await / f64::from(USERS) * 1e3));
        }
        let name = format!("time to effective for each user, group of {users} users");
        figures.push(Figure::measured(name, "µs", format!("group of {USERS} users"), pairs));
    }
    figures
}
