//! Accounts by rail.

use async_trait::async_trait;
use domain::accounts::ports::{AccountStore, Enrolled};
use domain::accounts::session::{SignIn, Slot};
use domain::accounts::{Account, Kept};
use domain::ids::{SignInId, UserId};
use domain::ports::{PortResult, Step};
use domain::testing::Memory;

use super::{Rail, step};

#[async_trait]
impl AccountStore for Rail<Memory> {
    async fn enrol(&self, account: &Account) -> PortResult<()> {
        step!(self, enrol(account))
    }
    async fn account(&self, user: &UserId) -> PortResult<Option<Enrolled>> {
        step!(self, account(user))
    }
    async fn accounts(&self, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Enrolled>> {
        step!(self, accounts(after, limit))
    }
    async fn slots(&self) -> PortResult<Vec<Slot>> {
        step!(self, slots())
    }
    async fn begin(&self, sign_in: &SignIn, instead_of: Option<&SignInId>) -> PortResult<Step> {
        step!(self, begin(sign_in, instead_of))
    }
    async fn sign_in(&self, id: &SignInId) -> PortResult<Option<SignIn>> {
        step!(self, sign_in(id))
    }
    async fn sign_in_of(&self, state: &str) -> PortResult<Option<SignInId>> {
        step!(self, sign_in_of(state))
    }
    async fn change(&self, after: &SignIn, kept: Option<&Kept>) -> PortResult<Step> {
        step!(self, change(after, kept))
    }
    async fn change_kept(&self, user: &UserId, before: &Kept, after: &Kept) -> PortResult<Step> {
        step!(self, change_kept(user, before, after))
    }
}
