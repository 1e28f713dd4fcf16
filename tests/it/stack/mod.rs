//! End to end on the running stack: real functions behind a real API, on the stores that `template.yaml` made.

mod accounts;
mod api;
mod audit;
mod authorizer;
mod cache;
mod fuzz;
mod kinds;
mod notices;
mod report;
mod roles;
mod schedules;
mod siem;
mod sign_in;
mod slice;
mod stores;

use ops::issuer;
use ops::stack::Stack;
use ops::web::{Answer, Web};
use serde_json::Value;

const BASE: &str = "/api/admin/oauth/batch-logout";

/// A caller of the stack's API.
pub struct Caller {
    pub stack: Stack,
    pub web: Web,
    pub token: String,
}

impl Caller {
    /// Somebody who signed in through the issuer.
    pub async fn sign_in(email: &str) -> Self {
        let (stack, web) = (tests::environment::stack(), Web::default());
        // The directory knows the people once a demo company is loaded; every caller makes sure of its own row.
        let token = issuer::sign_in(&stack, &web, stack.person(email).unwrap()).await.unwrap();
        Self { stack, web, token }
    }

    pub async fn post_group(&self, body: &Value) -> Answer {
        let url = format!("{}{BASE}/group", self.stack.api_url);
        self.web.api("POST", &url, &self.token, Some(body)).await.unwrap()
    }

    pub async fn get_job(&self, id: &str) -> Answer {
        let url = format!("{}{BASE}/jobs/{id}", self.stack.api_url);
        self.web.api("GET", &url, &self.token, None).await.unwrap()
    }

    /// Asks for the job until it is as wanted.
    pub async fn wait_for(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let job = self.get_job(id).await.json;
            if wanted(&job) {
                return job;
            }
            assert!(begun.elapsed().as_secs() < 300, "the job does not get there: {job}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
