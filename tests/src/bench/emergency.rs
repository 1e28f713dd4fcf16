//! Time from the request to "every verifier refuses" of an emergency, by number of tokens, and its answer's time
//! against the smallest job there is. What varies is how many tokens each of a fixed number of users holds.

use std::time::Instant;

use domain::accept::{Accepted, By, Request};
use domain::audit::Origin;
use domain::conditions::Conditions;
use domain::directory::User;
use domain::emergency::PresentedKey;
use domain::ids::{GroupId, UserId};
use domain::job::Priority;
use domain::ports::RecordStore as _;
use domain::records::{Entity, GroupRecord, Record};

use super::figure::Figure;
use super::job::{Company, Site};

/// Users of each company, and the tokens of each of them.
const USERS: u32 = 1_000;
const TOKENS: [u32; 4] = [1, 10, 100, 1_000];
const ROUNDS: u32 = 15;
const GROUP: &str = "nobody";

/// A company of so many tokens.
struct Firm {
    site: Site,
    tokens: u32,
}

async fn firm(tokens: u32) -> Firm {
    let company = Company::of("em", USERS, tokens);
    let site = Site::with(company).await;
    let group = GroupRecord { id: GroupId::parse(GROUP).unwrap(), name: None, parent_id: None };
    site.fleet.store.apply(&Record::upsert(1, Entity::Group(group))).await.unwrap();
    Firm { site, tokens: company.all() }
}

fn request(conditions: Conditions, key: Option<PresentedKey>) -> Request {
    let reason = "a reason that is long enough".to_owned();
    Request { reason, emergency_key: key, ..Request::of(conditions, Priority::Normal) }
}

impl Firm {
    /// Milliseconds from the request to the answer, which says that the job is effective if it is to be at once.
    async fn answer(&self, user: &User, conditions: Conditions, key: Option<PresentedKey>) -> f64 {
        let (desk, acceptor) = (self.site.fleet.desk(), self.site.fleet.acceptor());
        let at_once = key.is_some();
        let begun = Instant::now();
        let answer = acceptor.accept(By::User { user, desk: &desk }, request(conditions, key)).await.unwrap();
        let millis = begun.elapsed().as_secs_f64() * 1e3;
        let Accepted::Started { job, .. } = answer.accepted else { panic!("a real run") };
        assert_eq!(job.effective_at.is_some(), at_once);
        millis
    }

    /// One emergency and one job of nobody, by an admin of their own.
    async fn round(&self, round: u32) -> (f64, f64) {
        let admin = User {
            roles: vec!["security_admin".to_owned()],
            email: Some("admin@example.com".to_owned()),
            ..User::unknown(UserId::parse(format!("admin-{round}")).unwrap())
        };
        self.site.fleet.desk().request(&admin, &Origin::default()).await.unwrap();
        let text = self.site.fleet.mailer.sent().pop().unwrap().text;
        let digits = text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).unwrap().to_owned();
        let emergency = Conditions::Emergency {
            exclude_admin_sessions: true,
            preserve_service_tokens: true,
            authorized_by: "benchmark".to_owned(),
        };
        let nobody = Conditions::GroupBased {
            group_id: GroupId::parse(GROUP).unwrap(),
            include_subgroups: false,
            exclude_admin_users: true,
        };
        let floor = self.answer(&admin, nobody, None).await;
        (self.answer(&admin, emergency, Some(PresentedKey::new(digits))).await, floor)
    }
}

/// Measures, the companies in turn.
pub async fn run() -> Vec<Figure> {
    let mut firms = Vec::new();
    for tokens in TOKENS {
        firms.push(firm(tokens).await);
    }
    // Of each round and company: the emergency, and the job of nobody.
    let mut rounds: Vec<Vec<(f64, f64)>> = Vec::new();
    for round in 0..ROUNDS {
        let mut of_round = Vec::new();
        for firm in &firms {
            of_round.push(firm.round(round).await);
        }
        rounds.push(of_round);
    }
    let smallest = firms[0].tokens;
    let mut figures = Vec::new();
    for (at, firm) in firms.iter().enumerate() {
        let tokens = firm.tokens;
        if at > 0 {
            let name = format!("emergency: request to \"every verifier refuses\", {tokens} tokens of {USERS} users");
            let pairs = rounds.iter().map(|round| (round[at].0, round[0].0)).collect();
            figures.push(Figure::measured(name, "ms", format!("{smallest} tokens of as many users"), pairs));
        }
        let pairs = rounds.iter().map(|round| round[at]).collect();
        let name = format!("emergency: its answer, {tokens} tokens");
        figures.push(Figure::measured(name, "ms", "a job of an empty group", pairs));
    }
    figures
}
