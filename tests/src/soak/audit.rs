//! What the soak looks at when everything has come to rest: every token, by its row and by its check; every job's
//! numbers; every mail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain::ids::{JobId, RawToken};
use domain::job::Statistics;
use domain::ports::{CacheAnswer, DenylistCache as _, JobStore as _, TokenStore as _};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use domain::token::{Owner, TokenKind};
use futures::stream::{self, StreamExt as _};
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use tokio::time::sleep;

use super::{PATIENCE, Soak};

/// Users and checks looked at at the same time.
const AT_ONCE: usize = 8;

impl Soak {
    /// Waits until the cache is believed again, so that the audit sees both halves of the check.
    pub(super) async fn settle(&self) {
        let begun = Instant::now();
        let cache = self.stack.cache().await.unwrap();
        let any = contract::facts(&self.run, "any", SystemClock.now().timestamp());
        while matches!(cache.ask(&any).await, Err(_) | Ok(CacheAnswer::Incomplete)) {
            if begun.elapsed() > PATIENCE {
                self.tally.wrong("CUT-5: the cache was not rebuilt".to_owned());
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Looks at everything; what is wrong is in the tally.
    pub(super) async fn audit(&self) {
        self.audit_checks().await;
        self.audit_rows().await;
        self.audit_mails().await;
    }

    async fn audit_checks(&self) {
        let tokens: Vec<(String, bool)> = {
            let done = self.done.lock().unwrap();
            let held = done.iter().flat_map(|done| &done.block.tokens).filter(|held| held.is_access());
            held.map(|held| (held.raw.clone(), !held.covered_by.is_empty())).collect()
        };
        let checks = stream::iter(tokens).map(|(raw, refused)| async move {
            let verdict = self.inspector.inspect(&RawToken::new(&raw)).await.map(|inspected| inspected.verdict.is_ok());
            match verdict {
                Ok(accepted) if accepted != refused => {}
                other => self.tally.wrong(format!("audit: {raw} must be refused: {refused}; it is: {other:?}")),
            }
        });
        checks.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Every row against its fate, and each job's numbers against the rows.
    async fn audit_rows(&self) {
        let store = &self.stack.store().await;
        let mut fates: BTreeMap<Owner, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        let mut jobs = BTreeSet::new();
        for done in self.done.lock().unwrap().iter() {
            jobs.extend(done.jobs.iter().cloned());
            for held in &done.block.tokens {
                let by = held.covered_by.iter().map(|&number| done.jobs[number].clone());
                let owner = Owner::User(held.record.user_id.clone().unwrap());
                fates.entry(owner).or_default().insert(held.record.id.to_string(), by.collect());
            }
        }
        let rows = stream::iter(fates).map(|(owner, fates)| async move {
            let holdings = store.holdings(&owner).await.expect("the local tables answer");
            let mut seen = 0;
            let mut revoked = Vec::new();
            for row in &holdings.tokens {
                let Some(may_be) = fates.get(row.id.as_str()) else {
                    self.tally.wrong(format!("audit: nobody issued {}", row.id));
                    continue;
                };
                seen += 1;
                let as_promised = match &row.revoked {
                    Some(revoked) => may_be.contains(revoked.by.as_str()),
                    None => may_be.is_empty(),
                };
                if !as_promised {
                    let row = (&row.id, &row.revoked);
                    self.tally.wrong(format!("audit: {row:?} must be revoked by one of {may_be:?}"));
                }
                revoked.extend(row.revoked.as_ref().map(|revoked| (revoked.by.as_str().to_owned(), row.kind)));
            }
            if seen != fates.len() {
                self.tally.wrong(format!("audit: {owner:?} has {seen} of {} tokens", fates.len()));
            }
            revoked
        });
        let revoked: Vec<Vec<(String, TokenKind)>> = rows.buffer_unordered(AT_ONCE).collect().await;
        let mut by_rows: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (by, kind) in revoked.into_iter().flatten() {
            let (access, refresh) = by_rows.entry(by).or_default();
            match kind {
                TokenKind::Access => *access += 1,
                TokenKind::Refresh => *refresh += 1,
            }
        }
        for id in jobs {
            let job_id = JobId::parse(&*id).unwrap();
            let tally = store.tally(&job_id).await.expect("the local tables answer");
            let Statistics { access_tokens_revoked, refresh_tokens_revoked, .. } = tally.statistics;
            let counted = (access_tokens_revoked, refresh_tokens_revoked);
            let rows = by_rows.get(&id).copied().unwrap_or_default();
            if counted != rows {
                self.tally.wrong(format!("SCOPE-7: job {id} counts {counted:?}, the rows say {rows:?}"));
            }
        }
    }

    /// Nobody got two mails of one job.
    async fn audit_mails(&self) {
        let url = format!("{}/_ministack/ses/messages", self.stack.endpoint_url);
        let request = Request::get(url).body(Full::default()).unwrap();
        let all = self.web.send(request).await.expect("the local AWS lists its mails").json;
        let accounts = all["messages"].as_object().into_iter().flat_map(|accounts| accounts.values());
        let mails: Vec<&Value> = accounts.flat_map(|mails| mails.as_array().into_iter().flatten()).collect();
        let done = self.done.lock().unwrap();
        let mut counted = 0;
        for done in done.iter().filter(|done| done.block.notify) {
            for job in &done.jobs {
                let mut told = BTreeSet::new();
                let ours = mails.iter().filter(|mail| mail["BodyText"].as_str().is_some_and(|text| text.contains(job)));
                for address in ours.flat_map(|mail| mail["To"].as_array().into_iter().flatten()) {
                    counted += 1;
                    let address = address.as_str().unwrap_or_default();
                    if !done.block.is_address(address) || !told.insert(address) {
                        self.tally.wrong(format!("MAIL-3: {address} got a mail of job {job} that nobody owes"));
                    }
                }
            }
        }
        println!("audit: {counted} mails to users, none twice");
    }
}
