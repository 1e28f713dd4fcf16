//! Token and session rows.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::ids::{SessionId, TokenId, UserId};
use domain::ports::{PortResult, TokenStore};
use domain::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};

use super::item::{self, Item, Reader, corrupt, failed, n, parse_id, s};
use super::{Dynamo, RETENTION_SECONDS};

/// The index that finds opaque tokens by their id. JWTs carry their user and are not in it.
pub(super) const BY_OPAQUE_ID: &str = "by-opaque-id";

pub(super) fn owner_key(owner: &Owner) -> String {
    match owner {
        Owner::User(user) => format!("U#{user}"),
        Owner::Service(client) => format!("C#{client}"),
    }
}

pub(super) fn row_key(owner: &Owner, item: String) -> Item {
    Item::from([("owner".to_owned(), s(owner_key(owner))), ("item".to_owned(), s(item))])
}

fn read_owner(text: &str) -> PortResult<Owner> {
    match text.split_once('#') {
        Some(("U", user)) => parse_id(user).map(Owner::User),
        Some(("C", client)) => parse_id(client).map(Owner::Service),
        _ => Err(corrupt(format!("{text:?} is no owner"))),
    }
}

fn read_by(item: &Reader, name: &str) -> PortResult<Option<RevokedBy>> {
    let read = |text: &str| RevokedBy::parse(text).ok_or_else(|| corrupt(format!("{text:?} is no job")));
    item.text_opt(name).map(read).transpose()
}

fn read_token(item: &Reader) -> PortResult<TokenRow> {
    let id = item.text("item")?.strip_prefix("T#").ok_or_else(|| corrupt("row is no token"))?;
    let revoked = match (item.epoch_opt("revoked_at")?, read_by(item, "revoked_by")?) {
        (Some(at), Some(by)) => Some(Revoked { at, by }),
        _ => None,
    };
    Ok(TokenRow {
        id: parse_id(id)?,
        owner: read_owner(item.text("owner")?)?,
        kind: match item.text("kind")? {
            "access_token" => TokenKind::Access,
            "refresh_token" => TokenKind::Refresh,
            other => return Err(corrupt(format!("{other:?} is no kind of token"))),
        },
        client: item.id("client")?,
        session: item.id_opt("sid")?,
        opaque: item.text_opt("opaque_id").is_some(),
        issued_at: item.epoch("iat")?,
        signed_in_at: item.epoch_opt("auth_time")?,
        expires_at: item.epoch("exp")?,
        last_used_at: item.epoch_opt("last_used_at")?,
        scope: item.text_opt("scope").map(str::to_owned),
        revoked,
    })
}

fn read_session(item: &Reader) -> PortResult<SessionRow> {
    let id = item.text("item")?.strip_prefix("S#").ok_or_else(|| corrupt("row is no session"))?;
    let Owner::User(user) = read_owner(item.text("owner")?)? else {
        return Err(corrupt("a session without a user"));
    };
    Ok(SessionRow {
        id: parse_id(id)?,
        user,
        client: item.id_opt("client")?,
        started_at: item.epoch("started_at")?,
        expires_at: item.epoch("exp")?,
        ip_address: item.text_opt("ip_address").map(str::to_owned),
        ended_by: read_by(item, "ended_by")?,
    })
}

/// A row that only remembers that something ended before it was ever written here.
fn is_tombstone(item: &Reader) -> bool {
    item.text_opt("kind").is_none() && item.number_opt::<i64>("started_at").ok().flatten().is_none()
}

impl Dynamo {
    async fn row(&self, key: Item) -> PortResult<Option<Reader>> {
        let got = self.client.get_item().table_name(&self.tables.tokens).set_key(Some(key)).consistent_read(true);
        Ok(got.send().await.map_err(failed)?.item.map(Reader).filter(|item| !is_tombstone(item)))
    }
}

#[async_trait]
impl TokenStore for Dynamo {
    async fn holdings(&self, owner: &Owner) -> PortResult<Holdings> {
        let query = self.client.query().table_name(&self.tables.tokens).consistent_read(true);
        let query = query
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", s(owner_key(owner)));
        let mut items = query.into_paginator().items().send();
        let mut holdings = Holdings::default();
        while let Some(item) = items.next().await {
            let item = Reader(item.map_err(failed)?);
            if is_tombstone(&item) {
                continue;
            }
            if item.text("item")?.starts_with("T#") {
                holdings.tokens.push(read_token(&item)?);
            } else {
                holdings.sessions.push(read_session(&item)?);
            }
        }
        Ok(holdings)
    }

    async fn token(&self, owner: &Owner, id: &TokenId) -> PortResult<Option<TokenRow>> {
        self.row(row_key(owner, format!("T#{id}"))).await?.as_ref().map(read_token).transpose()
    }

    async fn opaque(&self, id: &TokenId) -> PortResult<Option<TokenRow>> {
        let found = self
            .client
            .query()
            .table_name(&self.tables.tokens)
            .index_name(BY_OPAQUE_ID)
            .key_condition_expression("opaque_id = :id")
            .expression_attribute_values(":id", s(id.as_str()))
            .limit(1)
            .send()
            .await
            .map_err(failed)?;
        let Some(found) = found.items.into_iter().flatten().next().map(Reader) else { return Ok(None) };
        // The index only says where the row is; what it says is read from the row itself.
        let owner = read_owner(found.text("owner")?)?;
        self.token(&owner, id).await
    }

    async fn session(&self, user: &UserId, id: &SessionId) -> PortResult<Option<SessionRow>> {
        let owner = Owner::User(user.clone());
        self.row(row_key(&owner, format!("S#{id}"))).await?.as_ref().map(read_session).transpose()
    }

    async fn revoke(&self, owner: &Owner, id: &TokenId, revoked: &Revoked) -> PortResult<Option<RevokedBy>> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.tables.tokens)
            .set_key(Some(row_key(owner, format!("T#{id}"))))
            .update_expression("SET revoked_at = :at, revoked_by = :by")
            .condition_expression("attribute_exists(kind) AND attribute_not_exists(revoked_at)")
            .expression_attribute_values(":at", n(revoked.at.0))
            .expression_attribute_values(":by", s(revoked.by.as_str()))
            .return_values(ReturnValue::None)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Some(revoked.by.clone())),
            Err(error) => match error.as_service_error().and_then(|error| match error {
                aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(failed) => {
                    Some(failed.item.clone())
                }
                _ => None,
            }) {
                // A time-out of an update that did happen ends here, too: the row already says "by us".
                Some(before) => before.map_or(Ok(None), |item| read_by(&Reader(item), "revoked_by")),
                None => Err(failed(error)),
            },
        }
    }

    async fn end_session(&self, user: &UserId, id: &SessionId, revoked: &Revoked) -> PortResult<bool> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.tables.tokens)
            .set_key(Some(row_key(&Owner::User(user.clone()), format!("S#{id}"))))
            .update_expression("SET ended_by = :by, ended_at = :at REMOVE ip_address, client")
            .condition_expression("attribute_exists(started_at) AND (attribute_not_exists(ended_by) OR ended_by = :by)")
            .expression_attribute_values(":at", n(revoked.at.0))
            .expression_attribute_values(":by", s(revoked.by.as_str()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if item::condition_failed(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The attributes of a token row that its record decides. Revocation is not among them.
pub(super) fn token_attributes(row: &TokenRow) -> Vec<(&'static str, Option<AttributeValue>)> {
    vec![
        ("kind", Some(s(row.kind.as_str()))),
        ("client", Some(s(row.client.as_str()))),
        ("sid", row.session.as_ref().map(|session| s(session.as_str()))),
        ("opaque_id", row.opaque.then(|| s(row.id.as_str()))),
        ("iat", Some(n(row.issued_at.0))),
        ("auth_time", row.signed_in_at.map(|at| n(at.0))),
        ("exp", Some(n(row.expires_at.0))),
        ("last_used_at", row.last_used_at.map(|at| n(at.0))),
        ("scope", row.scope.as_ref().map(s)),
        ("ttl", Some(item::n(row.expires_at.plus(RETENTION_SECONDS).0))),
    ]
}

/// The attributes of a session row that its record decides.
pub(super) fn session_attributes(row: &SessionRow) -> Vec<(&'static str, Option<AttributeValue>)> {
    vec![
        ("client", row.client.as_ref().map(|client| s(client.as_str()))),
        ("started_at", Some(n(row.started_at.0))),
        ("exp", Some(n(row.expires_at.0))),
        ("ip_address", row.ip_address.as_ref().map(s)),
        ("ttl", Some(n(row.expires_at.plus(RETENTION_SECONDS).0))),
    ]
}
