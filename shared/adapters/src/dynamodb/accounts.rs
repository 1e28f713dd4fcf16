//! Accounts, their sign-ins and the slots of those under way, in a table of their own.
//!
//! | partition key | sort key | what |
//! |---|---|---|
//! | `ACCOUNTS` | user id | an account: its settings, and what is kept of its tokens, sealed |
//! | `SLOTS` | number | which sign-in holds a slot, and until when |
//! | `S#sign-in` | `-` | a sign-in |
//! | `X#hash of a state` | `-` | whose `state` it is |

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use domain::accounts::ports::{AccountStore, Enrolled};
use domain::accounts::session::{SignIn, Slot};
use domain::accounts::{Account, Kept};
use domain::error::PortError;
use domain::ids::{SignInId, UserId};
use domain::ports::{PortResult, Step};
use domain::time::from_millis;

use super::Dynamo;
use super::item::{self, Item, Reader, corrupt, failed, key, n, s};
use super::jobs::{transact_put, transact_update};

const ACCOUNTS: &str = "ACCOUNTS";
const SLOTS: &str = "SLOTS";
/// A sign-in can be looked up for a day after it ended, in seconds.
const SIGN_IN_KEPT: i64 = 24 * 3_600;
/// A slot whose time has passed is free whether its item is gone or not.
const SLOT_KEPT: i64 = 3_600;

fn account_key(user: &UserId) -> Item {
    key(ACCOUNTS, user.as_str())
}

fn slot_key(number: u8) -> Item {
    key(SLOTS, format!("{number:03}"))
}

fn sign_in_key(id: &SignInId) -> Item {
    key(format!("S#{id}"), "-")
}

fn state_key(state: &str) -> Item {
    key(format!("X#{state}"), "-")
}

fn ttl_of(sign_in: &SignIn) -> i64 {
    sign_in.expires_at.timestamp() + SIGN_IN_KEPT
}

fn write_sign_in(sign_in: &SignIn) -> PortResult<Item> {
    let mut item = sign_in_key(&sign_in.id);
    item.insert("sign_in".to_owned(), item::json(sign_in)?);
    item.insert("revision".to_owned(), n(sign_in.revision));
    item.insert("ttl".to_owned(), n(ttl_of(sign_in)));
    Ok(item)
}

fn read_account(item: Item) -> PortResult<Enrolled> {
    let item = Reader(item);
    let kept = item.text_opt("tokens").map(|_| item.json("tokens")).transpose()?;
    Ok(Enrolled { account: item.json("settings")?, kept })
}

fn read_slot(item: Item) -> PortResult<Slot> {
    let item = Reader(item);
    Ok(Slot {
        number: item.text("sk")?.parse().map_err(|_| corrupt("a slot without a number"))?,
        sign_in: item.id("sign_in")?,
        user: item.id("user")?,
        expires_at: from_millis(item.number("expires_at")?),
    })
}

const CONDITION: &str = "ConditionalCheckFailed";

/// What it means that parts of a transaction were refused. Who was in another's way is told to look again.
fn step_of(written: Result<(), Vec<String>>) -> PortResult<Step> {
    match written {
        Ok(()) => Ok(Step::Taken),
        Err(codes) if codes.iter().any(|code| code == CONDITION || code == "TransactionConflict") => Ok(Step::Lost),
        Err(codes) => {
            let cause = format!("transaction cancelled: {}", codes.join(", "));
            Err(PortError::Unavailable { service: "DynamoDB", cause })
        }
    }
}

impl Dynamo {
    async fn account_item(&self, item: Item) -> PortResult<Option<Item>> {
        let got = self.client.get_item().table_name(&self.tables.accounts).set_key(Some(item)).consistent_read(true);
        Ok(got.send().await.map_err(failed)?.item)
    }

    /// What becomes of a sign-in's slot with it.
    fn slot_part(&self, sign_in: &SignIn) -> PortResult<TransactWriteItem> {
        let table = &self.tables.accounts;
        if sign_in.status.is_over() {
            let delete = Delete::builder()
                .table_name(table)
                .set_key(Some(slot_key(sign_in.slot)))
                .condition_expression("attribute_not_exists(pk) OR sign_in = :id")
                .expression_attribute_values(":id", s(sign_in.id.as_str()))
                .build()
                .map_err(|cause| corrupt(cause.to_string()))?;
            return Ok(TransactWriteItem::builder().delete(delete).build());
        }
        transact_update(
            Update::builder()
                .table_name(table)
                .set_key(Some(slot_key(sign_in.slot)))
                .update_expression("SET expires_at = :until, #ttl = :ttl")
                .condition_expression("sign_in = :id")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":id", s(sign_in.id.as_str()))
                .expression_attribute_values(":until", n(sign_in.expires_at.timestamp_millis()))
                .expression_attribute_values(":ttl", n(sign_in.expires_at.timestamp() + SLOT_KEPT)),
        )
    }

    /// All parts of a change but the slot's.
    fn change_parts(&self, after: &SignIn, kept: Option<&Kept>) -> PortResult<Vec<TransactWriteItem>> {
        let table = &self.tables.accounts;
        let put = Put::builder().table_name(table).set_item(Some(write_sign_in(after)?));
        let put = put
            .condition_expression("revision = :before")
            .expression_attribute_values(":before", n(after.revision.saturating_sub(1)));
        let mut parts = vec![transact_put(put)?];
        if let Some(kept) = kept {
            parts.push(transact_update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(account_key(&after.user)))
                    .update_expression("SET tokens = :tokens, tokens_revision = :revision")
                    .condition_expression("attribute_exists(settings)")
                    .expression_attribute_values(":tokens", item::json(kept)?)
                    .expression_attribute_values(":revision", s(&kept.revision)),
            )?);
        }
        Ok(parts)
    }
}

#[async_trait]
impl AccountStore for Dynamo {
    async fn enrol(&self, account: &Account) -> PortResult<()> {
        self.client
            .update_item()
            .table_name(&self.tables.accounts)
            .set_key(Some(account_key(&account.user)))
            .update_expression("SET settings = :settings")
            .expression_attribute_values(":settings", item::json(account)?)
            .send()
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn account(&self, user: &UserId) -> PortResult<Option<Enrolled>> {
        self.account_item(account_key(user)).await?.map(read_account).transpose()
    }

    async fn accounts(&self, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Enrolled>> {
        let query = self.client.query().table_name(&self.tables.accounts).consistent_read(true);
        let query = query.expression_attribute_values(":pk", s(ACCOUNTS));
        let query = match after {
            None => query.key_condition_expression("pk = :pk"),
            Some(after) => query
                .key_condition_expression("pk = :pk AND sk > :after")
                .expression_attribute_values(":after", s(after.as_str())),
        };
        let mut items = query.limit(i32::try_from(limit).unwrap_or(i32::MAX)).into_paginator().items().send();
        let mut accounts = Vec::new();
        while accounts.len() < limit {
            let Some(item) = items.next().await else { break };
            accounts.push(read_account(item.map_err(failed)?)?);
        }
        Ok(accounts)
    }

    async fn slots(&self) -> PortResult<Vec<Slot>> {
        let query = self.client.query().table_name(&self.tables.accounts).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(SLOTS));
        let found: Result<Vec<Item>, _> = query.into_paginator().items().send().collect().await;
        found.map_err(failed)?.into_iter().map(read_slot).collect()
    }

    async fn begin(&self, sign_in: &SignIn, instead_of: Option<&SignInId>) -> PortResult<Step> {
        let table = &self.tables.accounts;
        let new = |item: Item| {
            transact_put(
                Put::builder().table_name(table).set_item(Some(item)).condition_expression("attribute_not_exists(pk)"),
            )
        };
        let mut state = state_key(&sign_in.state);
        state.insert("sign_in".to_owned(), s(sign_in.id.as_str()));
        state.insert("ttl".to_owned(), n(ttl_of(sign_in)));
        let mut slot = slot_key(sign_in.slot);
        slot.insert("sign_in".to_owned(), s(sign_in.id.as_str()));
        slot.insert("user".to_owned(), s(sign_in.user.as_str()));
        slot.insert("expires_at".to_owned(), n(sign_in.expires_at.timestamp_millis()));
        slot.insert("ttl".to_owned(), n(sign_in.expires_at.timestamp() + SLOT_KEPT));
        let slot = Put::builder().table_name(table).set_item(Some(slot));
        let slot = match instead_of {
            None => slot.condition_expression("attribute_not_exists(pk)"),
            Some(former) => slot
                .condition_expression("attribute_not_exists(pk) OR sign_in = :former")
                .expression_attribute_values(":former", s(former.as_str())),
        };
        let parts = vec![new(write_sign_in(sign_in)?)?, new(state)?, transact_put(slot)?];
        step_of(self.transact(parts).await?)
    }

    async fn sign_in(&self, id: &SignInId) -> PortResult<Option<SignIn>> {
        self.account_item(sign_in_key(id)).await?.map(|item| Reader(item).json("sign_in")).transpose()
    }

    async fn sign_in_of(&self, state: &str) -> PortResult<Option<SignInId>> {
        self.account_item(state_key(state)).await?.map(|item| Reader(item).id("sign_in")).transpose()
    }

    async fn change(&self, after: &SignIn, kept: Option<&Kept>) -> PortResult<Step> {
        let mut parts = self.change_parts(after, kept)?;
        parts.push(self.slot_part(after)?);
        let slot = parts.len() - 1;
        let written = self.transact(parts).await?;
        let refused = written.as_ref().err().and_then(|codes| codes.iter().position(|code| code == CONDITION));
        if after.status.is_over() && refused == Some(slot) {
            // Its time had passed and another holds the slot: then there is none to free.
            return step_of(self.transact(self.change_parts(after, kept)?).await?);
        }
        step_of(written)
    }

    async fn change_kept(&self, user: &UserId, before: &Kept, after: &Kept) -> PortResult<Step> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.tables.accounts)
            .set_key(Some(account_key(user)))
            .update_expression("SET tokens = :tokens, tokens_revision = :after")
            // The write is tried again when its answer is lost: one's own is no other's.
            .condition_expression("tokens_revision = :before OR tokens_revision = :after")
            .expression_attribute_values(":tokens", item::json(after)?)
            .expression_attribute_values(":before", s(&before.revision))
            .expression_attribute_values(":after", s(&after.revision))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Step::Taken),
            Err(error) if item::condition_failed(&error) => Ok(Step::Lost),
            Err(error) => Err(failed(error)),
        }
    }
}
