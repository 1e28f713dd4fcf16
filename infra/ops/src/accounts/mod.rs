//! `accounts import DIR` and `accounts signin`: enrolment files, and many sign-ins at once.

pub mod enrolment;
mod signin;

use std::path::Path;
use std::time::Instant;

use domain::accounts::ports::AccountStore as _;

use crate::failure::{Context as _, Result};
use crate::progress;
use crate::stack::Stack;

pub use signin::sign_in;

/// Where the demo company's enrolment files are, seen from the checkout.
pub const DEMO: &str = "infra/enrolment";

/// Imports all enrolment files of a folder, or none if one of them is wrong. Tokens of accounts that are enrolled already
/// stay.
pub async fn import(stack: &Stack, folder: &Path) -> Result<usize> {
    let begun = Instant::now();
    let accounts = enrolment::read(folder)?;
    let store = stack.store().await;
    let bar = progress::bar("enrolling accounts", accounts.len() as u64);
    for account in &accounts {
        store.enrol(account).await.context(format!("enrolling {}", account.user))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    progress::done(&format!("enrolled {} accounts", accounts.len()), begun);
    Ok(accounts.len())
}
