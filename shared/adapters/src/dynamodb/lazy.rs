//! DynamoDB for a verifier that hardly ever asks it: the client comes into being with the first question.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use async_trait::async_trait;
use aws_config::SdkConfig;
use domain::cutoff::Cutoff;
use domain::decision::{Answer, TokenFacts};
use domain::ids::{JobId, SessionId, TokenId, UserId};
use domain::job::{Chunk, ChunkRef};
use domain::ports::{DenylistStore, Entry, FrozenJob, Page, PortResult, TokenLookup};
use domain::settings::Tables;
use domain::time::Epoch;
use domain::token::TokenRow;

use super::Dynamo;

/// [`Dynamo`], made when it is first asked.
#[derive(Debug)]
pub struct LazyDynamo {
    aws: SdkConfig,
    tables: Tables,
    made: OnceLock<Dynamo>,
}

impl LazyDynamo {
    /// Costs nothing yet.
    pub fn new(aws: SdkConfig, tables: Tables) -> Self {
        Self { aws, tables, made: OnceLock::new() }
    }

    fn made(&self) -> &Dynamo {
        self.made.get_or_init(|| Dynamo::new(&self.aws, self.tables.clone()))
    }
}

#[async_trait]
impl DenylistStore for LazyDynamo {
    async fn ask(&self, token: &TokenFacts) -> PortResult<Answer> {
        DenylistStore::ask(self.made(), token).await
    }

    async fn put_cutoffs(&self, cutoffs: &[Cutoff]) -> PortResult<()> {
        self.made().put_cutoffs(cutoffs).await
    }

    async fn put_tokens(&self, tokens: &[(TokenId, Epoch)]) -> PortResult<()> {
        self.made().put_tokens(tokens).await
    }

    async fn put_spared(&self, job: &JobId, users: &BTreeSet<UserId>, retires_at: Epoch) -> PortResult<()> {
        self.made().put_spared(job, users, retires_at).await
    }

    async fn activate(&self, job: &FrozenJob) -> PortResult<()> {
        self.made().activate(job).await
    }

    async fn active(&self) -> PortResult<Vec<FrozenJob>> {
        self.made().active().await
    }

    async fn chunk(&self, chunk: &ChunkRef) -> PortResult<Option<Chunk>> {
        self.made().chunk(chunk).await
    }

    async fn chunks(&self, job: &JobId, after: Option<&UserId>, limit: usize) -> PortResult<Vec<Chunk>> {
        self.made().chunks(job, after, limit).await
    }

    async fn entries(&self, from: Option<&str>) -> PortResult<Page<Entry>> {
        self.made().entries(from).await
    }

    async fn generation(&self) -> PortResult<String> {
        self.made().generation().await
    }

    async fn renew_generation(&self, generation: &str) -> PortResult<()> {
        self.made().renew_generation(generation).await
    }

    async fn forget_retired(&self, until: Epoch) -> PortResult<u64> {
        self.made().forget_retired(until).await
    }
}

#[async_trait]
impl TokenLookup for LazyDynamo {
    async fn opaque_row(&self, id: &TokenId) -> PortResult<Option<TokenRow>> {
        self.made().opaque_row(id).await
    }

    async fn sign_in_of(
        &self,
        user: &UserId,
        session: Option<&SessionId>,
        token: &TokenId,
    ) -> PortResult<Option<Epoch>> {
        self.made().sign_in_of(user, session, token).await
    }
}
