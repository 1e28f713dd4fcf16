//! Who may do what (spec §3): every call of the API, made by everybody.

use std::collections::BTreeSet;

use bytes::Bytes;
use domain::audit::Entry;
use domain::conditions::Conditions;
use domain::directory::Actor;
use domain::ids::{ClientId, GroupId, JobId, UserId};
use domain::job::{Job, Status};
use domain::ports::{JobStore as _, NewJob, RecordStore as _};
use domain::records::{ClientRecord, Entity, GroupRecord, Record, TokenRecord, UserRecord};
use domain::source::{IdSource as _, SystemIds};
use domain::time::{Clock as _, Epoch, SystemClock};
use domain::token::TokenKind;
use futures::stream::{self, StreamExt as _};
use http::Request;
use http_body_util::Full;
use ops::issuer::Mint;
use ops::stack::Stack;
use ops::web::Web;
use serde_json::{Value, json};
use tests::environment::unique;

use super::BASE;

/// What everybody is answered. `~` is the admin API's root. `2xx`: a dry run that is counted at once (200) or by the
/// workers (202). `none`: 200 and an empty list. The group admin manages one group; "their" jobs are the caller's own.
/// `stranger` is somebody with a good token whom the directory does not know, `nobody` sends no token.
const TABLE: &str = "
call                          | with                       | super_admin security_admin system_admin group_admin oauth_admin auditor member stranger nobody
POST ~/group                  | a managed group            | 200  200  200  200  403  403  403  403  401
POST ~/group                  | a managed group and below  | 200  200  200  200  403  403  403  403  401
POST ~/group                  | a group below a managed    | 200  200  200  200  403  403  403  403  401
POST ~/group                  | a group above a managed    | 200  200  200  403  403  403  403  403  401
POST ~/group                  | another group              | 200  200  200  403  403  403  403  403  401
POST ~/group                  | another group and below    | 200  200  200  403  403  403  403  403  401
POST ~/group                  | a group that is not there  | 404  404  404  403  403  403  403  403  401
POST ~/client                 | a client                   | 200  200  200  403  200  403  403  403  401
POST ~/time-based             | tokens of 2000             | 2xx  2xx  2xx  403  2xx  403  403  403  401
POST ~/conditional            | a managed group            | 200  200  200  403  403  403  403  403  401
POST ~/emergency              | a drill                    | 2xx  2xx  403  403  403  403  403  403  401
POST ~/emergency              | no key                     | 403  403  403  403  403  403  403  403  401
POST ~/request-emergency-key  |                            | 200  200  403  403  403  403  403  403  401
GET ~/jobs                    | their own                  | 200  200  200  200  200  200  200  200  401
GET ~/jobs                    | another's                  | 200  200  200  none none 200  none none 401
GET ~/jobs/{id}               | their own                  | 200  200  200  200  200  200  200  200  401
GET ~/jobs/{id}               | another's                  | 200  200  200  404  404  200  404  404  401
GET ~/jobs/{id}               | no such job                | 404  404  404  404  404  404  404  404  401
GET ~/jobs/{id}/affected-users| their own                  | 200  200  200  200  200  200  200  200  401
GET ~/jobs/{id}/affected-users| another's                  | 200  200  200  404  404  200  404  404  401
GET ~/jobs/{id}/affected-users| no such job                | 404  404  404  404  404  404  404  404  401
GET ~/jobs/{id}/audit         | their own                  | 200  200  200  403  403  200  403  403  401
GET ~/jobs/{id}/audit         | another's                  | 200  200  200  403  403  200  403  403  401
GET ~/jobs/{id}/audit         | no such job                | 404  404  404  403  403  404  403  403  401
GET ~/reports/{month}         | a month                    | 200  200  200  403  403  200  403  403  401
DELETE ~/jobs/{id}            | their own, finished        | 409  409  409  403  403  403  403  403  401
DELETE ~/jobs/{id}            | another's, finished        | 409  409  409  403  403  403  403  403  401
DELETE ~/jobs/{id}            | no such job                | 404  404  404  403  403  403  403  403  401
GET /oauth/authorize          | no client                  | 400  400  400  400  400  400  400  400  400
POST /oauth/token             | no client                  | 400  400  400  400  400  400  400  400  400
GET /oauth/userinfo           |                            | 200  200  200  200  200  200  200  200  401
POST /oauth/revoke            | no client                  | 401  401  401  401  401  401  401  401  401
GET /api/v1/auth/sessions     |                            | 200  200  200  200  200  200  200  200  401
DELETE /api/v1/auth/sessions/{id}| no such session         | 404  404  404  404  404  404  404  404  401
POST /oauth/introspect        | no client's secret         | 401  401  401  401  401  401  401  401  401
POST /oauth/token/validate    | no client's secret         | 401  401  401  401  401  401  401  401  401
POST /api/v1/accounts/auth    | no such account            | 404  404  404  403  403  403  403  403  401
POST /api/v1/accounts/auth/bulk| no such account           | 200  200  200  403  403  403  403  403  401
GET /api/v1/accounts/auth/{session_id}| no such sign-in    | 404  404  404  403  403  403  403  403  401
POST /api/v1/accounts/auth/cleanup| of a week ago          | 200  200  200  403  403  403  403  403  401
GET /api/v1/accounts/accounts |                            | 200  200  200  403  403  403  403  403  401
GET /api/v1/accounts/auth/callback| nothing                | 400  400  400  400  400  400  400  400  400
GET /openapi.json             |                            | 200  200  200  200  200  200  200  200  200
GET /health                   |                            | 200  200  200  200  200  200  200  200  200
POST /api/v1/auth/logout      | another sign-in of theirs  | 200  200  200  200  200  200  200  200  401
POST /api/v1/auth/logout/all  | at the end                 | 200  200  200  200  200  200  200  200  401
";

/// A row of the table.
struct Row {
    method: &'static str,
    path: &'static str,
    with: &'static str,
    expected: Vec<&'static str>,
}

/// The names of the columns, and the rows.
fn table() -> (Vec<&'static str>, Vec<Row>) {
    let mut lines = TABLE.trim().lines().map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [call, with, columns] = cells[..] else { panic!("three cells: {line}") };
        (call, with, columns.split_whitespace().collect::<Vec<_>>())
    });
    let (_, _, names) = lines.next().unwrap();
    let rows = lines.map(|(call, with, expected)| {
        let (method, path) = call.split_once(' ').unwrap();
        assert_eq!(expected.len(), names.len(), "{call} | {with}");
        Row { method, path, with, expected }
    });
    let rows = rows.collect();
    (names, rows)
}

/// Somebody in a role, with a token and a finished job of their own.
struct Caller {
    role: &'static str,
    id: UserId,
    job: JobId,
    token: Option<String>,
    /// Of another sign-in, which is ended on the way.
    spare: Option<String>,
}

/// What the calls are about. All of it is new, so that nobody else's rate limits or jobs are in the way.
struct World {
    stack: Stack,
    web: Web,
    above: GroupId,
    managed: GroupId,
    below: GroupId,
    other: GroupId,
    client: ClientId,
    callers: Vec<Caller>,
    /// Whose jobs are "another's".
    another: (UserId, JobId),
}

fn fresh<T: TryFrom<String>>(name: &str) -> T {
    T::try_from(unique(name)).ok().unwrap()
}

/// A job that has ended, written as if this actor had made it.
pub async fn finished_job(stack: &Stack, by: &UserId) -> JobId {
    let (id, now) = (SystemIds.job_id(), SystemClock.now());
    let conditions =
        Conditions::ClientBased { client_id: fresh("gone"), revoke_refresh_tokens: true, created_before: None };
    let actor = Actor { id: by.clone(), email: None, name: None };
    let mut job = Job::new(id.clone(), conditions, actor, "for the table of roles".to_owned(), now);
    (job.status, job.completed_at) = (Status::Completed, Some(now));
    stack.store().await.create(NewJob::plain(&job)).await.unwrap();
    id
}

/// A token of somebody who has just signed in.
pub fn token(mint: &Mint, user: &UserId) -> String {
    let now = Epoch::from(SystemClock.now());
    let record = TokenRecord {
        id: fresh("roles"),
        user_id: Some(user.clone()),
        client_id: fresh("web-app"),
        token_type: TokenKind::Access,
        opaque: false,
        session_id: Some(fresh("roles")),
        issued_at: now,
        auth_time: Some(now),
        expires_at: now.plus(3_600),
        last_used_at: None,
        scope: None,
        revoked_at: None,
    };
    mint.sign(&record).unwrap()
}

impl World {
    /// The world of callers in these roles.
    async fn new(roles: &[&'static str]) -> Self {
        let (stack, web) = (tests::environment::stack(), Web::default());
        let (above, managed, below, other): (GroupId, GroupId, GroupId, GroupId) =
            (fresh("above"), fresh("managed"), fresh("below"), fresh("other"));
        let group = |id: &GroupId, parent: Option<&GroupId>| {
            Entity::Group(GroupRecord { id: id.clone(), name: None, parent_id: parent.cloned() })
        };
        let client: ClientId = fresh("client");
        let mut entities = vec![
            group(&above, None),
            group(&managed, Some(&above)),
            group(&below, Some(&managed)),
            group(&other, Some(&above)),
            Entity::Client(ClientRecord { id: client.clone(), name: None, secret_sha256: None, may_introspect: false }),
        ];
        let mint = Mint::open(&stack, &web).await.unwrap();
        let mut callers = Vec::new();
        for &role in roles {
            let id: UserId = fresh(role);
            let job = finished_job(&stack, &id).await;
            let known = UserRecord {
                email: Some(format!("{id}@example.com")),
                roles: if role == "member" { Vec::new() } else { vec![role.to_owned()] },
                managed_group_ids: if role == "group_admin" { vec![managed.clone()] } else { Vec::new() },
                ..UserRecord::new(id.clone())
            };
            if !["stranger", "nobody"].contains(&role) {
                entities.push(Entity::User(known));
            }
            let sign_in = || (role != "nobody").then(|| token(&mint, &id));
            let (token, spare) = (sign_in(), sign_in());
            callers.push(Caller { role, id, job, token, spare });
        }
        let store = stack.store().await;
        for entity in entities {
            store.apply(&Record::upsert(1, entity)).await.unwrap();
        }
        let someone: UserId = fresh("another");
        let another = (someone.clone(), finished_job(&stack, &someone).await);
        Self { stack, web, above, managed, below, other, client, callers, another }
    }

    /// What a row sends: the query or the job it is about, and the body.
    fn sends(&self, caller: &Caller, row: &Row) -> (String, Option<Value>) {
        let job_body = |mut body: Value| {
            body["reason"] = "the table of roles is walked".into();
            body["dry_run"] = (row.with != "no key").into();
            Some(body)
        };
        let group = |id: &GroupId, include_subgroups: bool| {
            job_body(json!({ "group_id": id, "include_subgroups": include_subgroups }))
        };
        let path = row.path.replace('~', BASE);
        let nowhere = SystemIds.job_id();
        let (whose, job) = match row.with.split(',').next().unwrap() {
            "another's" => (&self.another.0, &self.another.1),
            "no such job" => (&caller.id, &nowhere),
            _ => (&caller.id, &caller.job),
        };
        let body = match (row.method, row.path, row.with) {
            ("POST", "~/group", "a managed group") => group(&self.managed, false),
            ("POST", "~/group", "a managed group and below") => group(&self.managed, true),
            ("POST", "~/group", "a group below a managed") => group(&self.below, false),
            ("POST", "~/group", "a group above a managed") => group(&self.above, false),
            ("POST", "~/group", "another group") => group(&self.other, false),
            ("POST", "~/group", "another group and below") => group(&self.other, true),
            ("POST", "~/group", "a group that is not there") => group(&fresh("nowhere"), false),
            ("POST", "~/client", _) => job_body(json!({ "client_id": self.client })),
            ("POST", "~/time-based", _) => job_body(json!({ "created_before": "2001-01-01T00:00:00Z" })),
            ("POST", "~/conditional", _) => job_body(json!({ "conditions": { "groups": [self.managed] } })),
            ("POST", "~/emergency", _) => {
                job_body(json!({ "confirm": "LOGOUT_ALL_USERS", "authorized_by": "the table of roles" }))
            }
            ("POST", "/oauth/introspect" | "/oauth/revoke", _) => Some(json!({ "token": "x" })),
            ("POST", "/oauth/token", _) => Some(json!({ "grant_type": "refresh_token", "refresh_token": "x" })),
            ("POST", "/api/v1/accounts/auth", _) => Some(json!({ "user_id": "nobody" })),
            ("POST", "/api/v1/accounts/auth/bulk", _) => Some(json!({ "user_ids": ["nobody"] })),
            ("POST", "/api/v1/accounts/auth/cleanup", _) => Some(json!({ "expire_threshold_minutes": 10_080 })),
            ("POST", "/api/v1/auth/logout", _) => Some(json!({})),
            ("POST", "/oauth/token/validate", _) => Some(json!({ "access_token": "x" })),
            ("DELETE", "~/jobs/{id}", _) => Some(json!({ "reason": "the table of roles is walked" })),
            ("GET", "~/jobs", _) => return (format!("{path}?initiated_by={whose}"), None),
            _ => None,
        };
        let path = path.replace("{id}", job.as_str()).replace("{session_id}", "there-is-none");
        (path.replace("{month}", "2020-01"), body)
    }

    /// Does as a row says, and answers what came of it, in the table's words.
    async fn ask(&self, caller: &Caller, row: &Row) -> String {
        let (path, body) = self.sends(caller, row);
        let mut request = Request::builder().method(row.method).uri(format!("{}{path}", self.stack.api_url));
        let token = if row.with.starts_with("another sign-in") { &caller.spare } else { &caller.token };
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let is_form = ["/oauth/introspect", "/oauth/revoke"].contains(&row.path);
        let body = body.map_or_else(Bytes::new, |body| {
            Bytes::from(if is_form { serde_urlencoded::to_string(body).unwrap() } else { body.to_string() })
        });
        if !body.is_empty() {
            let kind = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
            request = request.header("content-type", kind);
        }
        let answer = self.web.send(request.body(Full::new(body)).unwrap()).await.unwrap();
        let items = answer.json["items"].as_array();
        match answer.status.as_u16() {
            200 if row.path == "~/jobs" && items.unwrap().is_empty() => "none".to_owned(),
            200 if row.expected.contains(&"2xx") => "2xx".to_owned(),
            202 if row.expected.contains(&"2xx") => {
                self.cancel(answer.json["job_id"].as_str().unwrap()).await;
                "2xx".to_owned()
            }
            status => status.to_string(),
        }
    }

    /// Spares the workers a count of all tokens.
    async fn cancel(&self, job: &str) {
        let may = ["super_admin", "system_admin"];
        let token =
            self.callers.iter().find(|caller| may.contains(&caller.role)).and_then(|caller| caller.token.as_ref());
        let url = format!("{}{BASE}/jobs/{job}", self.stack.api_url);
        let body = json!({ "reason": "only the answer is looked at" });
        let answer = self.web.api("DELETE", &url, token.unwrap(), Some(&body)).await.unwrap();
        assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.json);
    }

    /// Lets everybody do everything, several of them at a time; whom and what was answered.
    async fn walk<'a>(&'a self, rows: &'a [Row]) -> Vec<(&'a Caller, &'a Row, String)> {
        let walks = self.callers.iter().map(|caller| async move {
            let mut answers = Vec::new();
            for row in rows {
                answers.push((caller, row, self.ask(caller, row).await));
            }
            answers
        });
        stream::iter(walks).buffer_unordered(3).concat().await
    }

    /// What was written down of the refusals of a caller: action and why it was.
    async fn audited(&self, caller: &Caller) -> Vec<Entry> {
        let client = aws_sdk_dynamodb::Client::new(&self.stack.aws().await);
        let scan = client.scan().table_name(&self.stack.tables.audit);
        let scan = scan
            .filter_expression("contains(entry, :actor)")
            .expression_attribute_values(":actor", aws_sdk_dynamodb::types::AttributeValue::S(caller.id.to_string()));
        let items: Vec<_> = scan.into_paginator().items().send().collect::<Result<_, _>>().await.unwrap();
        let entries = items.iter().map(|item| serde_json::from_str::<Entry>(item["entry"].as_s().unwrap()).unwrap());
        entries.filter(|entry| entry.actor.id == caller.id && !entry.success).collect()
    }
}

#[tokio::test]
async fn spec_3_every_route_answers_every_role_as_the_table_says() {
    let (roles, rows) = table();
    let world = World::new(&roles).await;
    let mut wrong = Vec::new();
    for (caller, row, got) in world.walk(&rows).await {
        let column = roles.iter().position(|role| *role == caller.role).unwrap();
        let wanted = row.expected[column];
        if got != wanted {
            wrong.push(format!("{} {} | {} × {}: {got}, not {wanted}", row.method, row.path, row.with, caller.role));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn spec_3_every_route_of_the_document_is_in_the_table() {
    let (stack, web) = (tests::environment::stack(), Web::default());
    let request = Request::get(format!("{}/openapi.json", stack.api_url)).body(Full::default()).unwrap();
    let document = web.send(request).await.unwrap().json;
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, calls)| {
            calls.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let rows = table().1;
    let walked: BTreeSet<String> =
        rows.iter().map(|row| format!("{} {}", row.method, row.path.replace('~', BASE))).collect();
    assert_eq!(described, walked, "the calls of the OpenAPI document and those of the table");
}

#[tokio::test]
async fn authz_2_every_refusal_of_the_table_is_audited() {
    let (_, rows) = table();
    let world = World::new(&["system_admin", "group_admin", "stranger"]).await;
    let answers = world.walk(&rows).await;
    for caller in &world.callers {
        let mine = answers.iter().filter(|(who, ..)| who.role == caller.role);
        // To those who may not see jobs, another's job looks like one that is not there; the asking is written down.
        let refused = mine.filter(|(_, row, got)| {
            got == "403" || (got == "404" && row.method == "GET" && caller.role != "system_admin")
        });
        let refused = refused.count();
        let entries = world.audited(caller).await;
        assert!(refused > 0, "{} is refused something", caller.role);
        assert_eq!(entries.len(), refused, "{}: {entries:#?}", caller.role);
        for entry in &entries {
            let action = serde_json::to_value(entry.action).unwrap();
            assert!(entry.origin.request_id.is_some() && entry.job_id.is_some() | entry.metadata.is_object());
            assert_eq!(action, "permission_denied", "{}: {entry:#?}", caller.role);
        }
    }
}
