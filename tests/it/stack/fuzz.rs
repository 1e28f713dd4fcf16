//! Requests made from the OpenAPI document that the API itself serves, by the hundred: right ones, wrong ones, ones that
//! follow from earlier answers. Every answer must be one that the document describes, and none a server error.
//!
//! What may be sent and answered is in `tests/fuzz`.

use std::collections::BTreeSet;
use std::process::Command;

use domain::ids::UserId;
use domain::ports::RecordStore as _;
use domain::records::{ClientRecord, Entity, GroupRecord, Record, UserRecord};
use domain::time::{Clock as _, SystemClock};
use ops::company::{INTROSPECTOR, Plan};
use ops::issuer::Mint;
use ops::stack::Stack;
use ops::web::Web;
use serde_json::Value;
use tests::environment::{self, unique};

use super::BASE;
use super::roles::{finished_job, token};

/// The calls that make jobs: most of what can be sent is in their bodies.
const JOBS: &str = "/batch-logout/(group|client|time-based|conditional|emergency)$";

/// The calls after which the caller's token is good no more.
const LOGOUTS: &str = "/api/v1/auth/logout";

/// The calls that anybody may make: public clients have no secret, and browsers no token.
const PUBLIC: &str = "/oauth/(authorize|token|revoke)$|/accounts/auth/callback$";

/// Ends sign-ins that other tests may have under way; `tests/it/accounts.rs` has it.
const CLEAN_UP: &str = "/accounts/auth/cleanup$";

/// A request that was sent, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    call: String,
    status: u64,
}

/// Makes what `tests/fuzz/schemathesis.toml` names, and an admin with every permission and a fresh rate limit.
async fn admin(stack: &Stack) -> String {
    let id = UserId::parse(unique("fuzz")).unwrap();
    let company = Plan::demo(SystemClock.now()).company(&[]).unwrap();
    let clients = company.directory.into_iter().filter(|record| match &record.change {
        domain::records::Change::Upsert(Entity::Client(client)) => client.may_introspect,
        _ => false,
    });
    let user = UserRecord {
        email: Some(format!("{id}@example.com")),
        roles: vec!["super_admin".to_owned()],
        ..UserRecord::new(id.clone())
    };
    let made = [
        Entity::Group(GroupRecord { id: "fuzz-group".to_owned().try_into().unwrap(), name: None, parent_id: None }),
        Entity::Client(ClientRecord {
            id: "fuzz-client".to_owned().try_into().unwrap(),
            name: None,
            secret_sha256: None,
            may_introspect: false,
        }),
        Entity::User(user),
    ];
    let store = stack.store().await;
    for record in clients.chain(made.into_iter().map(|entity| Record::upsert(1, entity))) {
        store.apply(&record).await.unwrap();
    }
    // Something for the list of jobs to name, so that requests can follow from it.
    for _ in 0..3 {
        finished_job(stack, &id).await;
    }
    token(&Mint::open(stack, &Web::default()).await.unwrap(), &id)
}

/// Runs schemathesis with these arguments; what it asked and was answered, once it has found nothing to say.
fn run(stack: &Stack, token: &str, secret: &str, args: &[&str]) -> Vec<Asked> {
    let folder = environment::root().join("tests/fuzz");
    // It leaves things behind in the folder that it runs in.
    let here = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("fuzz"));
    std::fs::create_dir_all(&here).unwrap();
    let report = here.join("report.ndjson");
    let mut command = Command::new(environment::schemathesis());
    command.current_dir(&here).arg("--config-file").arg(folder.join("schemathesis.toml"));
    command.args(["run", &format!("{}/openapi.json", stack.api_url), "--url", &stack.api_url, "--no-color"]);
    command.args(["--checks", "all", "--report", "ndjson", "--report-ndjson-path"]).arg(&report).args(args);
    command.env("PYTHONPATH", &folder).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*");
    command.env("FUZZ_TOKEN", token).env("FUZZ_CLIENT", INTROSPECTOR.0).env("FUZZ_CLIENT_SECRET", secret);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let asked = read(&std::fs::read_to_string(report).unwrap());
    println!("{} requests\n{told}", asked.len());
    std::fs::remove_dir_all(here).unwrap();
    asked
}

/// Reads a report.
fn read(report: &str) -> Vec<Asked> {
    let scenarios = report.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut asked = Vec::new();
    for scenario in scenarios {
        let recorder = &scenario["ScenarioFinished"]["recorder"];
        for (case, interaction) in recorder["interactions"].as_object().into_iter().flatten() {
            let call = &recorder["cases"][case]["value"];
            let call = format!("{} {}", call["method"].as_str().unwrap(), call["path"].as_str().unwrap());
            // One that was not answered is a failure by itself.
            let Some(status) = interaction["response"]["status_code"].as_u64() else { continue };
            asked.push(Asked { call: call.replace(BASE, "~"), status });
        }
    }
    asked
}

/// The calls that did what they are for at least once.
fn done(asked: &[Asked]) -> BTreeSet<&str> {
    asked.iter().filter(|asked| (200..300).contains(&asked.status)).map(|asked| &*asked.call).collect()
}

#[tokio::test]
async fn api_10_the_calls_that_make_jobs_keep_to_the_document() {
    let stack = environment::stack();
    let token = admin(&stack).await;
    let args = ["--include-path-regex", JOBS, "--phases", "examples,coverage,fuzzing", "--max-examples", "15"];
    let asked = run(&stack, &token, INTROSPECTOR.1, &args);
    let wanted = ["POST ~/client", "POST ~/conditional", "POST ~/emergency", "POST ~/group", "POST ~/time-based"];
    assert_eq!(done(&asked), BTreeSet::from(wanted));
}

#[tokio::test]
async fn api_10_the_other_calls_keep_to_the_document() {
    let stack = environment::stack();
    let token = admin(&stack).await;
    let others = format!("{JOBS}|{LOGOUTS}|{CLEAN_UP}");
    let args = ["--exclude-path-regex", &others, "--phases", "examples,coverage,fuzzing", "--max-examples", "15"];
    let asked = run(&stack, &token, INTROSPECTOR.1, &args);
    let wanted = [
        "GET /api/v1/accounts/accounts",
        "GET /api/v1/auth/sessions",
        "GET /health",
        "GET /oauth/userinfo",
        "GET ~/jobs",
        "POST /api/v1/accounts/auth/bulk",
        "GET ~/reports/{month}",
        "POST /oauth/introspect",
        "POST /oauth/token/validate",
        "POST ~/request-emergency-key",
    ];
    // Not the document itself, which is fetched to begin with.
    let done = done(&asked);
    assert!(done.is_superset(&BTreeSet::from(wanted)), "{done:?}");
}

#[tokio::test]
async fn api_10_calls_that_follow_from_earlier_answers_keep_to_the_document() {
    let stack = environment::stack();
    let token = admin(&stack).await;
    let others = format!("{LOGOUTS}|{CLEAN_UP}");
    let args = ["--exclude-path-regex", &others, "--phases", "stateful", "--max-examples", "8"];
    let asked = run(&stack, &token, INTROSPECTOR.1, &args);
    let done = done(&asked);
    for call in ["GET ~/jobs/{id}", "GET ~/jobs/{id}/affected-users"] {
        assert!(done.contains(call), "{call} found a job: {done:?}");
    }
}

#[tokio::test]
async fn sess_1_the_calls_that_sign_out_keep_to_the_document_and_work_once() {
    let stack = environment::stack();
    for call in ["/api/v1/auth/logout", "/api/v1/auth/logout/all"] {
        let token = admin(&stack).await;
        let path = format!("{call}$");
        let args = ["--include-path-regex", &path, "--phases", "examples,coverage,fuzzing", "--max-examples", "15"];
        // After the first that succeeds all others are refused, right or wrong.
        let args = [&args[..], &["--exclude-checks", "positive_data_acceptance"]].concat();
        let asked = run(&stack, &token, INTROSPECTOR.1, &args);
        let successes = asked.iter().filter(|asked| asked.status == 200).count();
        assert_eq!(successes, 1, "{call}: {asked:?}");
    }
}

#[tokio::test]
async fn check_1_without_credentials_no_request_gets_anywhere() {
    let stack = environment::stack();
    let args =
        ["--exclude-tag", "service", "--exclude-path-regex", PUBLIC, "--phases", "fuzzing", "--max-examples", "4"];
    let args = [&args[..], &["--exclude-checks", "positive_data_acceptance"]].concat();
    let asked = run(&stack, "none", "wrong", &args);
    let calls: BTreeSet<&str> = asked.iter().map(|asked| &*asked.call).collect();
    assert_eq!(calls.len(), 24, "{calls:?}");
    // An invented id with a slash in it makes another path, which is nobody's; and clients may show their credentials in
    // the very body that cannot be read.
    let allowed = |asked: &Asked| {
        let by_client = ["/oauth/introspect", "/oauth/token/validate"].iter().any(|path| asked.call.ends_with(path));
        asked.status == 401
            || (asked.status == 404 && ["id}", "{month}"].iter().any(|parameter| asked.call.contains(parameter)))
            || (asked.status == 400 && by_client)
    };
    let others: Vec<&Asked> = asked.iter().filter(|asked| !allowed(asked)).collect();
    assert!(others.is_empty(), "{others:?}");
}
