//! `demo`: a security admin logs out the contractors and all their subgroups, for real, and every claim is checked.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::time::{Clock as _, Epoch, SystemClock};
use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use serde_json::{Value, json};

use crate::audit;
use crate::company::{Company, INTROSPECTOR, Issued};
use crate::failure::{Failure, Result, ensure};
use crate::issuer::{self, Mint};
use crate::load;
use crate::progress;
use crate::stack::{Person, Stack};
use crate::web::Web;

const ADMIN: &str = "security.admin@example.com";
const MEMBER: &str = "member@example.com";
const BASE: &str = "/api/admin/oauth/batch-logout";
/// Tokens of either sort that are presented while the job is effective.
const SAMPLE: usize = 60;
const CHECKS_AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(250);

/// What the demo talks to.
struct Demo<'a> {
    stack: &'a Stack,
    web: Web,
    admin: String,
    group: String,
}

/// Runs the demo.
pub async fn demo(path: &Path, stack: &Stack) -> Result<()> {
    let begun = Instant::now();
    let (plan, company) = load::unused_company(path, stack, SystemClock.now()).await?;
    println!(
        "  {} users, {} tokens, {} sessions, nine groups in three levels",
        plan.users,
        company.tokens.len(),
        company.sessions.len()
    );
    let web = Web::default();
    let admin = issuer::sign_in(stack, &web, stack.person(ADMIN)?).await?;
    let demo = Demo { stack, web, admin, group: plan.leaving() };
    let mint = Mint::open(stack, &demo.web).await?;

    // Somebody who really signs in, before and after.
    let member = stack.person(MEMBER)?;
    let before = issuer::sign_in(stack, &demo.web, member).await?;
    ensure(demo.is_active(&before).await?, "a member's token must be good before the job")?;

    let counted = demo.dry_run().await?;
    let (job, accepted) = demo.start(&counted).await?;
    let effective = demo.wait_until_effective(&job).await?;
    println!(
        "✓ effective {} after the request: from now on every verifier refuses",
        between(&effective, "created_at", "effective_at")?
    );

    demo.check_samples(&mint, &company).await?;
    demo.check_member(&mint, member, &before).await?;
    let settled = demo.wait_until_settled(&job).await?;
    progress::done("settled: the token tables agree", accepted);
    check_statistics(&counted, &settled)?;
    demo.show_notice(&job).await?;
    println!(
        "\nTime to effective {}, time to settled {}.",
        between(&settled, "created_at", "effective_at")?,
        between(&settled, "created_at", "completed_at")?
    );
    audit::publish(stack).await?;
    audit::verify(stack).await?;
    progress::done("demo", begun);
    Ok(())
}

fn time(job: &Value, name: &str) -> Result<DateTime<Utc>> {
    let text = job[name].as_str().unwrap_or_default();
    text.parse().map_err(|_| Failure(format!("the job has no {name}: {job}")))
}

fn between(job: &Value, from: &str, to: &str) -> Result<String> {
    Ok(progress::human((time(job, to)? - time(job, from)?).to_std().unwrap_or_default()))
}

impl Demo<'_> {
    /// Asks about a token; "nobody can tell at the moment" (503) is a refusal, too, but here it is asked again.
    async fn is_active(&self, token: &str) -> Result<bool> {
        let begun = Instant::now();
        loop {
            let answer = self.web.introspect(&self.stack.api_url, INTROSPECTOR, token).await?;
            match (answer.status, answer.json["active"].as_bool()) {
                (StatusCode::OK, Some(active)) => return Ok(active),
                (StatusCode::SERVICE_UNAVAILABLE, _) if begun.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
                (status, _) => return Err(Failure(format!("introspection answered {status}: {}", answer.json))),
            }
        }
    }

    async fn post_group(&self, body: &Value, expected: StatusCode) -> Result<Value> {
        let url = format!("{}{BASE}/group", self.stack.api_url);
        let answer = self.web.api("POST", &url, &self.admin, Some(body)).await?;
        ensure(answer.status == expected, format!("POST /group answered {}: {}", answer.status, answer.json))?;
        Ok(answer.json)
    }

    fn request(&self, extra: Value) -> Value {
        let mut body = json!({
            "group_id": self.group,
            "include_subgroups": true,
            "reason": "계약 종료: the contractors' engagement ended 🔒",
        });
        if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
            body.extend(extra);
        }
        body
    }

    async fn job(&self, id: &str) -> Result<Value> {
        let url = format!("{}{BASE}/jobs/{id}", self.stack.api_url);
        let answer = self.web.api("GET", &url, &self.admin, None).await?;
        ensure(answer.status == StatusCode::OK, format!("GET /jobs answered {}: {}", answer.status, answer.json))?;
        Ok(answer.json)
    }

    async fn dry_run(&self) -> Result<Value> {
        let begun = Instant::now();
        let spinner = progress::spinner("dry run");
        let counted = self.post_group(&self.request(json!({ "dry_run": true })), StatusCode::OK).await?;
        spinner.finish_and_clear();
        let would = &counted["would_affect"];
        progress::done(
            &format!(
                "dry run: {} users, {} access tokens, {} refresh tokens, {} sessions",
                would["users"], would["access_tokens"], would["refresh_tokens"], would["sessions"]
            ),
            begun,
        );
        for warning in counted["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            println!("  ! {warning}");
        }
        ensure(would["users"].as_u64() >= Some(1_000), "the demo should log out at least 1,000 users")?;
        Ok(counted)
    }

    async fn start(&self, counted: &Value) -> Result<(String, Instant)> {
        let unconfirmed = self.post_group(&self.request(json!({})), StatusCode::BAD_REQUEST).await?;
        println!("✓ without confirmation it is refused: {}", unconfirmed["detail"].as_str().unwrap_or_default());
        let confirmed = self.request(json!({
            "plan_id": counted["plan_id"],
            "confirmation_code": counted["confirmation_code"],
        }));
        let begun = Instant::now();
        let accepted = self.post_group(&confirmed, StatusCode::ACCEPTED).await?;
        let id = accepted["job_id"].as_str().unwrap_or_default().to_owned();
        progress::done(&format!("job {id} accepted"), begun);
        Ok((id, begun))
    }

    async fn wait(&self, id: &str, what: &str, mut reached: impl FnMut(&Value) -> bool) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let job = self.job(id).await?;
            if reached(&job) {
                return Ok(job);
            }
            ensure(begun.elapsed() < PATIENCE, format!("the job was not {what} in time: {job}"))?;
            tokio::time::sleep(POLL).await;
        }
    }

    async fn wait_until_effective(&self, id: &str) -> Result<Value> {
        self.wait(id, "effective", |job| job["effective_at"].is_string()).await
    }

    async fn wait_until_settled(&self, id: &str) -> Result<Value> {
        let bar = progress::bar("settling", 100);
        let job = self.wait(id, "settled", |job| {
            bar.set_position(job["progress"].as_u64().unwrap_or_default());
            job["completed_at"].is_string()
        });
        let job = job.await?;
        bar.finish_and_clear();
        ensure(job["status"] == "completed", format!("the job did not complete: {job}"))?;
        Ok(job)
    }

    /// Presents covered and uncovered tokens over HTTP, before settling is done.
    async fn check_samples(&self, mint: &Mint, company: &Company) -> Result<()> {
        let begun = Instant::now();
        let now = Epoch::from(SystemClock.now());
        for (leaving, wanted) in [(true, "refused"), (false, "accepted")] {
            let tokens = company.tokens.iter().filter(|token| token.leaving == leaving && token.is_live(now));
            let of_users = tokens.filter(|token| token.record.user_id.is_some());
            let sample: Vec<&Issued> = of_users.step_by(43).take(SAMPLE).collect();
            let bar = progress::bar(&format!("tokens to be {wanted}"), sample.len() as u64);
            let wrong = stream::iter(&sample)
                .map(|token| async {
                    let raw = match &token.opaque {
                        Some(raw) => raw.clone(),
                        None => mint.sign(&token.record)?,
                    };
                    let active = self.is_active(&raw).await?;
                    bar.inc(1);
                    Ok::<_, Failure>(active == leaving)
                })
                .buffer_unordered(CHECKS_AT_ONCE)
                .fold(Ok(0), |sum: Result<usize>, wrong| async { Ok(sum? + usize::from(wrong?)) })
                .await?;
            bar.finish_and_clear();
            ensure(wrong == 0, format!("{wrong} of {} tokens that must be {wanted} were not", sample.len()))?;
            println!(
                "✓ {} of {} {} tokens {wanted}",
                sample.len(),
                sample.len(),
                if leaving { "covered" } else { "uncovered" }
            );
        }
        progress::done("tokens checked over HTTP", begun);
        Ok(())
    }

    /// A refreshed token of the old sign-in dies; a new sign-in lives; the admin among the members is spared.
    async fn check_member(&self, mint: &Mint, member: &Person, before: &str) -> Result<()> {
        ensure(!self.is_active(before).await?, "the member's token must be refused")?;
        let refreshed = mint.refreshed(before, SystemClock.now().into())?;
        ensure(!self.is_active(&refreshed).await?, "a token refreshed from the old sign-in must be refused")?;
        let after = issuer::sign_in(self.stack, &self.web, member).await?;
        ensure(self.is_active(&after).await?, "a token of a new sign-in must be accepted")?;
        ensure(self.is_active(&self.admin).await?, "the admin's token must be accepted")?;
        println!("✓ a token refreshed from the old sign-in is refused, a new sign-in is accepted, the admin is spared");
        Ok(())
    }

    /// One of the mails that tell those whom the job signed out. They go out at the pace that the account allows.
    async fn show_notice(&self, id: &str) -> Result<()> {
        let url = format!("{}/_ministack/ses/messages", self.stack.endpoint_url);
        let begun = Instant::now();
        let mail = loop {
            let answer = self.web.api("GET", &url, &self.admin, None).await?;
            let accounts = answer.json["messages"].as_object().into_iter().flat_map(|accounts| accounts.values());
            let mut mails = accounts.filter_map(Value::as_array).flatten();
            let of_job = |mail: &&Value| mail["BodyText"].as_str().is_some_and(|text| text.contains(id));
            if let Some(mail) = mails.find(of_job) {
                break mail.clone();
            }
            ensure(begun.elapsed() < PATIENCE, "nobody was told")?;
            tokio::time::sleep(POLL).await;
        };
        println!("✓ users are being told by mail, each once, in their language:\n");
        for line in mail["BodyText"].as_str().unwrap_or_default().lines() {
            println!("  │ {line}");
        }
        Ok(())
    }
}

fn check_statistics(counted: &Value, job: &Value) -> Result<()> {
    let (would, did) = (&counted["would_affect"], &job["statistics"]);
    println!("  {did}");
    for (planned, done) in [
        ("users", "total_users_affected"),
        ("access_tokens", "access_tokens_revoked"),
        ("refresh_tokens", "refresh_tokens_revoked"),
        ("sessions", "sessions_terminated"),
    ] {
        ensure(would[planned] == did[done], format!("{done} is {}, the dry run said {}", did[done], would[planned]))?;
    }
    println!("✓ the job did exactly what its dry run said");
    Ok(())
}
