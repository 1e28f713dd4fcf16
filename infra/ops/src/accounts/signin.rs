//! `accounts signin`: begins many sign-ins, prints where to go, and waits until they are through.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::issuer;
use crate::progress;
use crate::stack::Stack;
use crate::web::Web;

/// Accounts in one call.
const BATCH: usize = 100;
/// Between two looks, as the API's throttle is for all.
const PAUSE: Duration = Duration::from_secs(2);

/// The API, as somebody who may manage accounts.
struct Api<'a> {
    stack: &'a Stack,
    web: Web,
    token: String,
}

impl Api<'_> {
    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}/api/v1/accounts{path}", self.stack.api_url);
        let answer = self.web.api(method, &url, &self.token, body).await?;
        if answer.status.is_success() {
            return Ok(answer.json);
        }
        let why = answer.json["detail"].as_str().unwrap_or_default();
        Err(Failure(format!("{method} {path}: {}: {why}", answer.status)))
    }

    /// All accounts that are active.
    async fn active(&self) -> Result<Vec<String>> {
        let (mut users, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.call("GET", &format!("/accounts?limit=100{cursor}"), None).await?;
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let active = items.iter().filter(|line| line["active"] == true);
            users.extend(active.filter_map(|line| line["user_id"].as_str()).map(str::to_owned));
            let Some(next) = page["next_cursor"].as_str() else { return Ok(users) };
            // It is made of characters that need no encoding.
            cursor = format!("&cursor={next}");
        }
    }
}

/// Begins the sign-ins of these accounts, or of all that are active and not signed in; prints the outcome of each, and
/// with `wait` goes on until all are over. Fails if one of them did.
pub async fn sign_in(stack: &Stack, admin: &str, users: Vec<String>, wait: bool) -> Result<()> {
    let begun = Instant::now();
    let web = Web::default();
    let token = issuer::sign_in(stack, &web, stack.person(admin)?).await?;
    let api = Api { stack, web, token };
    let users = if users.is_empty() { api.active().await? } else { users };
    let mut lines = Vec::new();
    for batch in users.chunks(BATCH) {
        let body = json!({ "user_ids": batch, "max_concurrent": 10, "timeout_minutes": 30 });
        let answer = api.call("POST", "/auth/bulk", Some(&body)).await?;
        lines.extend(answer["user_statuses"].as_array().cloned().unwrap_or_default());
    }
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    for line in &lines {
        let told = [text(line, "auth_url"), text(line, "error_message"), text(line, "message")];
        let told = told.into_iter().find(|told| !told.is_empty()).unwrap_or_default();
        println!("{:<10} {}: {told}", text(line, "status"), text(line, "user_id"));
    }
    let mut failed = lines.iter().filter(|line| line["status"] == "FAILED").count();
    let pending = lines.iter().filter(|line| line["status"] == "PENDING");
    let mut pending: Vec<(String, String)> =
        pending.map(|line| (text(line, "user_id"), text(line, "session_id"))).collect();
    if wait && !pending.is_empty() {
        let bar = progress::bar("waiting for sign-ins", pending.len() as u64);
        while !pending.is_empty() {
            tokio::time::sleep(PAUSE).await;
            let mut waiting = Vec::new();
            for (user, session) in pending {
                let status = api.call("GET", &format!("/auth/{session}"), None).await?;
                if matches!(status["status"].as_str(), Some("PENDING" | "CALLBACK_RECEIVED")) {
                    waiting.push((user, session));
                    continue;
                }
                bar.inc(1);
                let told = status["error_message"].as_str().or(status["message"].as_str()).unwrap_or_default();
                bar.println(format!("{:<10} {user}: {told}", text(&status, "status")));
                failed += usize::from(status["is_completed"] != true);
            }
            pending = waiting;
        }
        bar.finish_and_clear();
    }
    progress::done(&format!("{} accounts, {failed} of them failed", lines.len()), begun);
    if failed == 0 { Ok(()) } else { Err(Failure(format!("{failed} accounts were not signed in"))) }
}
