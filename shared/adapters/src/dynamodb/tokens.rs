//! Token and session rows.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::ids::{ClientId, SessionId, TokenId, UserId};
use domain::ports::{CLIENT_SHARDS, Page, PortResult, SignInStore, TokenStore};
use domain::time::Epoch;
use domain::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};
use sha2::{Digest as _, Sha256};

use super::item::{self, Item, Reader, corrupt, failed, n, parse_id, s};
use super::{Dynamo, RETENTION_SECONDS};

/// The index that finds a client's tokens, spread over [`CLIENT_SHARDS`] partitions for each.
const BY_CLIENT: &str = "by-client";
/// Rows in one page of a part of the table: so few that a worker whose time runs out still ends its page.
const ROWS_PER_PAGE: i32 = 1_000;
/// Rows of the index in one page: about as many owners are read and settled before the next checkpoint.
const OWNERS_PER_PAGE: i32 = 200;

/// Where a client's tokens of one owner are in the index.
fn client_shard(client: &ClientId, shard: u32) -> String {
    format!("{shard:02}#{client}")
}

/// The shard of an owner: the same for all clients.
fn shard_of(owner: &Owner) -> u32 {
    let hash = Sha256::digest(owner_key(owner).as_bytes());
    u32::from(hash[0]) % CLIENT_SHARDS
}

/// The attribute that names the session of a token that was issued through us.
const OWN_SESSION: &str = "own_sid";

/// What the keys of signposts begin with in place of an owner's.
const SIGNPOST: &str = "O#";
/// The attribute of a signpost that says whose the token is.
const HELD_BY: &str = "held_by";

/// Where an opaque token is, to be found by its id alone. JWTs carry their user and need none. An index would do as
/// well, but lags behind: a token that is revoked right after it was issued would not be found.
fn signpost_key(id: &TokenId) -> Item {
    Item::from([("owner".to_owned(), s(format!("{SIGNPOST}{id}"))), ("item".to_owned(), s("-"))])
}

/// The signpost to a row, if it needs one.
pub(super) fn signpost(row: &TokenRow) -> Option<Item> {
    let mut item = signpost_key(&row.id);
    item.insert(HELD_BY.to_owned(), s(owner_key(&row.owner)));
    item.insert("ttl".to_owned(), n(row.expires_at.plus(RETENTION_SECONDS).0));
    row.opaque.then_some(item)
}

pub(super) fn owner_key(owner: &Owner) -> String {
    match owner {
        Owner::User(user) => format!("U#{user}"),
        Owner::Service(client) => format!("C#{client}"),
    }
}

pub(super) fn row_key(owner: &Owner, item: String) -> Item {
    Item::from([("owner".to_owned(), s(owner_key(owner))), ("item".to_owned(), s(item))])
}

pub(super) fn read_owner(text: &str) -> PortResult<Owner> {
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
        // A sign-in through us keeps its name, whatever the issuer reports of the token later.
        session: item.id_opt(OWN_SESSION)?.or(item.id_opt("sid")?),
        opaque: item.0.contains_key("opaque"),
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
        issuer_sid: item.id_opt("issuer_sid")?,
        ip_address: item.text_opt("ip_address").map(str::to_owned),
        sealed: item.text_opt("sealed").map(str::to_owned),
        ended_by: read_by(item, "ended_by")?,
    })
}

/// A row that only remembers that something ended before it was ever written here.
fn is_tombstone(item: &Reader) -> bool {
    item.text_opt("kind").is_none() && item.number_opt::<i64>("started_at").ok().flatten().is_none()
}

fn add_row(holdings: &mut Holdings, item: &Reader) -> PortResult<()> {
    if is_tombstone(item) {
        return Ok(());
    }
    if item.text("item")?.starts_with("T#") {
        holdings.tokens.push(read_token(item)?);
    } else {
        holdings.sessions.push(read_session(item)?);
    }
    Ok(())
}

/// Where a scan or query goes on: its key attributes, all of which are texts.
fn write_start(last: &Reader) -> PortResult<String> {
    let names: Vec<&String> = last.0.keys().collect();
    let key = names.into_iter().map(|name| Ok((name.as_str(), last.text(name)?)));
    let key: BTreeMap<&str, &str> = key.collect::<PortResult<_>>()?;
    serde_json::to_string(&key).map_err(|cause| corrupt(cause.to_string()))
}

fn read_start(from: &str) -> PortResult<Item> {
    let key: BTreeMap<String, String> =
        serde_json::from_str(from).map_err(|cause| corrupt(format!("place in a table: {cause}")))?;
    Ok(key.into_iter().map(|(name, text)| (name, s(text))).collect())
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
        let mut pages = query.into_paginator().send();
        let mut holdings = Holdings::default();
        while let Some(page) = pages.next().await {
            for item in page.map_err(failed)?.items.into_iter().flatten() {
                add_row(&mut holdings, &Reader(item))?;
            }
        }
        Ok(holdings)
    }

    async fn segment(&self, part: u32, of: u32, from: Option<&str>) -> PortResult<Page<(Owner, Holdings)>> {
        let page = self
            .client
            .scan()
            .table_name(&self.tables.tokens)
            .consistent_read(true)
            .segment(i32::try_from(part).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(of).unwrap_or(i32::MAX))
            .set_exclusive_start_key(from.map(read_start).transpose()?)
            .limit(ROWS_PER_PAGE)
            .send()
            .await
            .map_err(failed)?;
        let mut rows: BTreeMap<String, Holdings> = BTreeMap::new();
        // Rows of one owner lie together, so that only those at the page's ends may go on elsewhere.
        let mut ends = BTreeSet::new();
        let items = page.items.unwrap_or_default();
        let last = items.len().saturating_sub(1);
        for (index, item) in items.into_iter().map(Reader).enumerate() {
            let owner = item.text("owner")?.to_owned();
            if owner.starts_with(SIGNPOST) {
                continue;
            }
            let begins_elsewhere = index == 0 && from.is_some();
            let ends_elsewhere = index == last && page.last_evaluated_key.is_some();
            if begins_elsewhere || ends_elsewhere {
                ends.insert(owner.clone());
            }
            add_row(rows.entry(owner).or_default(), &item)?;
        }
        let mut items = Vec::with_capacity(rows.len());
        for (owner, holdings) in rows {
            let whole = !ends.contains(&owner);
            let owner = read_owner(&owner)?;
            let holdings = if whole { holdings } else { self.holdings(&owner).await? };
            items.push((owner, holdings));
        }
        let next = page.last_evaluated_key.map(|last| write_start(&Reader(last))).transpose()?;
        Ok(Page { items, next })
    }

    async fn owners_at(&self, client: &ClientId, shard: u32, from: Option<&str>) -> PortResult<Page<Owner>> {
        let page = self
            .client
            .query()
            .table_name(&self.tables.tokens)
            .index_name(BY_CLIENT)
            .key_condition_expression("client_shard = :shard")
            .expression_attribute_values(":shard", s(client_shard(client, shard)))
            .limit(OWNERS_PER_PAGE)
            .set_exclusive_start_key(from.map(read_start).transpose()?)
            .send()
            .await
            .map_err(failed)?;
        let owners: BTreeSet<String> = page
            .items
            .into_iter()
            .flatten()
            .map(|item| Reader(item).text("owner").map(str::to_owned))
            .collect::<PortResult<_>>()?;
        let items = owners.iter().map(|owner| read_owner(owner)).collect::<PortResult<_>>()?;
        let next = page.last_evaluated_key.map(|last| write_start(&Reader(last))).transpose()?;
        Ok(Page { items, next })
    }

    async fn rows(&self) -> PortResult<u64> {
        let described = self.client.describe_table().table_name(&self.tables.tokens).send().await.map_err(failed)?;
        let rows = described.table.and_then(|table| table.item_count).unwrap_or_default();
        Ok(rows.max(0).cast_unsigned())
    }

    async fn token(&self, owner: &Owner, id: &TokenId) -> PortResult<Option<TokenRow>> {
        self.row(row_key(owner, format!("T#{id}"))).await?.as_ref().map(read_token).transpose()
    }

    async fn opaque(&self, id: &TokenId) -> PortResult<Option<TokenRow>> {
        let found = self.client.get_item().table_name(&self.tables.tokens).set_key(Some(signpost_key(id)));
        let found = found.consistent_read(true).send().await.map_err(failed)?;
        let Some(found) = found.item.map(Reader) else { return Ok(None) };
        self.token(&read_owner(found.text(HELD_BY)?)?, id).await
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
            .update_expression("SET ended_by = :by, ended_at = :at REMOVE ip_address, client, sealed")
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

#[async_trait]
impl SignInStore for Dynamo {
    async fn add_tokens(&self, tokens: &[TokenRow]) -> PortResult<()> {
        let signposts = futures::future::try_join_all(tokens.iter().map(|token| self.put_signpost(token)));
        let rows = futures::future::try_join_all(tokens.iter().map(|token| self.add_token(token)));
        futures::try_join!(signposts, rows)?;
        Ok(())
    }

    async fn touch_token(&self, owner: &Owner, id: &TokenId, at: Epoch) -> PortResult<()> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.tables.tokens)
            .set_key(Some(row_key(owner, format!("T#{id}"))))
            .update_expression("SET last_used_at = :at")
            .condition_expression("attribute_exists(kind)")
            .expression_attribute_values(":at", n(at.0))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if item::condition_failed(&error) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn add_session(&self, session: &SessionRow, kept_until: Epoch) -> PortResult<()> {
        let mut item = row_key(&Owner::User(session.user.clone()), format!("S#{}", session.id));
        let set = session_attributes(session).into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        item.extend(set);
        item.insert("ttl".to_owned(), n(kept(session, kept_until).0));
        let put = self.client.put_item().table_name(&self.tables.tokens).set_item(Some(item));
        // A time-out's repetition finds its own row, which says the same.
        let put = put.condition_expression("attribute_not_exists(#item) OR sealed = :sealed");
        let put = put.expression_attribute_names("#item", "item");
        let sealed = s(session.sealed.as_deref().unwrap_or_default());
        put.expression_attribute_values(":sealed", sealed).send().await.map_err(failed)?;
        Ok(())
    }

    async fn sessions(&self, user: &UserId) -> PortResult<Vec<SessionRow>> {
        let query = self.client.query().table_name(&self.tables.tokens).consistent_read(true);
        let query = query
            .key_condition_expression("#owner = :owner AND begins_with(#item, :session)")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#item", "item")
            .expression_attribute_values(":owner", s(owner_key(&Owner::User(user.clone()))))
            .expression_attribute_values(":session", s("S#"));
        let mut items = query.into_paginator().items().send();
        let mut holdings = Holdings::default();
        while let Some(item) = items.next().await {
            add_row(&mut holdings, &Reader(item.map_err(failed)?))?;
        }
        Ok(holdings.sessions)
    }

    async fn touch_session(&self, session: &SessionRow, kept_until: Epoch) -> PortResult<bool> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.tables.tokens)
            .set_key(Some(row_key(&Owner::User(session.user.clone()), format!("S#{}", session.id))))
            .update_expression("SET #exp = :exp, #ttl = :ttl, sealed = :sealed")
            .condition_expression("attribute_exists(started_at) AND attribute_not_exists(ended_by)")
            .expression_attribute_names("#exp", "exp")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":exp", n(session.expires_at.0))
            .expression_attribute_values(":ttl", n(kept(session, kept_until).0))
            .expression_attribute_values(":sealed", s(session.sealed.as_deref().unwrap_or_default()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if item::condition_failed(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Dynamo {
    /// Writes the signpost to a row, if it needs one.
    pub(super) async fn put_signpost(&self, row: &TokenRow) -> PortResult<()> {
        let Some(item) = signpost(row) else { return Ok(()) };
        let ttl = item.get("ttl").cloned().unwrap_or_else(|| unreachable!("a signpost has an end"));
        let put = self.client.put_item().table_name(&self.tables.tokens).set_item(Some(item));
        // A late record must not take it away earlier.
        let put = put.condition_expression("attribute_not_exists(#ttl) OR #ttl < :ttl");
        let put = put.expression_attribute_names("#ttl", "ttl").expression_attribute_values(":ttl", ttl);
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes what was issued, and leaves alone what else is known of the token: a revocation, or a later record.
    async fn add_token(&self, token: &TokenRow) -> PortResult<()> {
        let mut set = Vec::new();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.tokens)
            .set_key(Some(row_key(&token.owner, format!("T#{}", token.id))));
        let own = |name| if name == "sid" { OWN_SESSION } else { name };
        let attributes = token_attributes(token).into_iter().filter_map(|(name, value)| Some((own(name), value?)));
        for (index, (name, value)) in attributes.enumerate() {
            set.push(format!("#a{index} = :a{index}"));
            update = update
                .expression_attribute_names(format!("#a{index}"), name)
                .expression_attribute_values(format!(":a{index}"), value);
        }
        update.update_expression(format!("SET {}", set.join(", "))).send().await.map_err(failed)?;
        Ok(())
    }
}

/// When the row of a session may go.
fn kept(session: &SessionRow, at_least: Epoch) -> Epoch {
    session.expires_at.max(at_least).plus(RETENTION_SECONDS)
}

/// The attributes of a token row that its record decides. Revocation is not among them.
pub(super) fn token_attributes(row: &TokenRow) -> Vec<(&'static str, Option<AttributeValue>)> {
    vec![
        ("kind", Some(s(row.kind.as_str()))),
        ("client", Some(s(row.client.as_str()))),
        ("client_shard", Some(s(client_shard(&row.client, shard_of(&row.owner))))),
        ("sid", row.session.as_ref().map(|session| s(session.as_str()))),
        ("opaque", row.opaque.then_some(AttributeValue::Bool(true))),
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
        ("issuer_sid", row.issuer_sid.as_ref().map(|sid| s(sid.as_str()))),
        ("ip_address", row.ip_address.as_ref().map(s)),
        ("sealed", row.sealed.as_ref().map(s)),
        ("ttl", Some(n(row.expires_at.plus(RETENTION_SECONDS).0))),
    ]
}
