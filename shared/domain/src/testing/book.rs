//! Accounts in memory.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::memory::Memory;
use crate::accounts::ports::{AccountStore, Enrolled};
use crate::accounts::session::{SignIn, Slot};
use crate::accounts::{Account, Kept};
use crate::ids::{SignInId, UserId};
use crate::ports::{PortResult, Step};

/// Everything about accounts.
#[derive(Default, Clone)]
pub(super) struct Book {
    accounts: BTreeMap<UserId, Enrolled>,
    slots: BTreeMap<u8, Slot>,
    sign_ins: HashMap<SignInId, SignIn>,
    states: HashMap<String, SignInId>,
}

#[async_trait]
impl AccountStore for Memory {
    async fn enrol(&self, account: &Account) -> PortResult<()> {
        let book = &mut self.up()?.book;
        let kept = book.accounts.get(&account.user).and_then(|enrolled| enrolled.kept.clone());
        book.accounts.insert(account.user.clone(), Enrolled { account: account.clone(), kept });
        Ok(())
    }

    async fn account(&self, user: &UserId) -> PortResult<Option<Enrolled>> {
        Ok(self.up()?.book.accounts.get(user).cloned())
    }

    async fn accounts(&self, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Enrolled>> {
        let state = self.up()?;
        let later = state.book.accounts.iter().filter(|(user, _)| after.is_none_or(|after| *user > after));
        Ok(later.map(|(_, enrolled)| enrolled.clone()).take(limit).collect())
    }

    async fn slots(&self) -> PortResult<Vec<Slot>> {
        Ok(self.up()?.book.slots.values().cloned().collect())
    }

    async fn begin(&self, sign_in: &SignIn, instead_of: Option<&SignInId>) -> PortResult<Step> {
        let book = &mut self.up()?.book;
        let holder = book.slots.get(&sign_in.slot).map(|slot| &slot.sign_in);
        if holder.is_some() && holder != instead_of {
            return Ok(Step::Lost);
        }
        let slot = Slot {
            number: sign_in.slot,
            sign_in: sign_in.id.clone(),
            user: sign_in.user.clone(),
            expires_at: sign_in.expires_at,
        };
        book.slots.insert(sign_in.slot, slot);
        book.states.insert(sign_in.state.clone(), sign_in.id.clone());
        book.sign_ins.insert(sign_in.id.clone(), sign_in.clone());
        Ok(Step::Taken)
    }

    async fn sign_in(&self, id: &SignInId) -> PortResult<Option<SignIn>> {
        Ok(self.up()?.book.sign_ins.get(id).cloned())
    }

    async fn sign_in_of(&self, state: &str) -> PortResult<Option<SignInId>> {
        Ok(self.up()?.book.states.get(state).cloned())
    }

    async fn change(&self, after: &SignIn, kept: Option<&Kept>) -> PortResult<Step> {
        let book = &mut self.up()?.book;
        let is_next = book.sign_ins.get(&after.id).is_some_and(|before| before.revision + 1 == after.revision);
        let is_enrolled = kept.is_none() || book.accounts.contains_key(&after.user);
        let slot = book.slots.get_mut(&after.slot).filter(|slot| slot.sign_in == after.id);
        if !is_next || !is_enrolled || (slot.is_none() && !after.status.is_over()) {
            return Ok(Step::Lost);
        }
        match slot {
            Some(_) if after.status.is_over() => _ = book.slots.remove(&after.slot),
            Some(slot) => slot.expires_at = after.expires_at,
            None => {}
        }
        book.sign_ins.insert(after.id.clone(), after.clone());
        if let (Some(kept), Some(enrolled)) = (kept, book.accounts.get_mut(&after.user)) {
            enrolled.kept = Some(kept.clone());
        }
        Ok(Step::Taken)
    }

    async fn change_kept(&self, user: &UserId, before: &Kept, after: &Kept) -> PortResult<Step> {
        let book = &mut self.up()?.book;
        let stored = book.accounts.get_mut(user).and_then(|enrolled| enrolled.kept.as_mut());
        Ok(match stored {
            Some(stored) if stored.revision == before.revision => {
                *stored = after.clone();
                Step::Taken
            }
            _ => Step::Lost,
        })
    }
}
