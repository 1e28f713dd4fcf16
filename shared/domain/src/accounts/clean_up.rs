//! Ends sign-ins that lead nowhere: those whose time has passed, every hour; others when an admin says so.

use chrono::TimeDelta;

use super::failure::Failure;
use super::ports::AccountStore;
use super::session::Status;
use crate::ports::{PortResult, Step};
use crate::time::Clock;

/// What was ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanedUp {
    /// Sign-ins that were ended now.
    pub cleaned: usize,
    /// Those under way afterwards.
    pub active: usize,
}

/// Ends sign-ins that began at least so long ago and whose time has passed; with `force` also those that still wait for
/// somebody to sign in. An exchange on its way is left alone until its time has passed.
pub async fn clean_up(
    store: &dyn AccountStore,
    clock: &dyn Clock,
    begun_before: TimeDelta,
    force: bool,
) -> PortResult<CleanedUp> {
    let now = clock.now();
    let mut cleaned = 0;
    // Whatever is under way holds a slot, and there are few of them.
    for slot in store.slots().await? {
        let Some(sign_in) = store.sign_in(&slot.sign_in).await? else { continue };
        if now - sign_in.started_at < begun_before {
            continue;
        }
        let ended = match sign_in.at(now) {
            // Time has passed, though it is not written yet.
            (status, failure) if status.is_over() => sign_in.over(status, failure),
            (Status::Pending, _) if force => sign_in.over(Status::Expired, Some(Failure::CleanedUp)),
            _ => continue,
        };
        cleaned += usize::from(store.change(&ended, None).await? == Step::Taken);
    }
    let slots = store.slots().await?;
    Ok(CleanedUp { cleaned, active: slots.iter().filter(|slot| slot.expires_at > now).count() })
}
