//! A DynamoDB of a test's own, in this process and on a port of its own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use adapters::dynamodb::Dynamo;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use domain::records::Record;
use domain::settings::Tables;
use dynoxide::{Database, ImportOptions};

/// A running store.
pub struct Store {
    /// Its address.
    pub endpoint: String,
    database: Database,
}

/// An SDK configuration that leads nowhere, for clients that need one.
pub async fn no_aws() -> SdkConfig {
    adapters::aws::local("http://127.0.0.1:9", "us-east-1", "test", "test").await
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

fn keys_only(name: &str, keys: Vec<KeySchemaElement>) -> GlobalSecondaryIndex {
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(keys))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap()
}

/// An attribute as the store has it.
fn imported((name, value): (String, AttributeValue)) -> (String, dynoxide::AttributeValue) {
    let value = match value {
        AttributeValue::S(text) => dynoxide::AttributeValue::S(text),
        AttributeValue::N(number) => dynoxide::AttributeValue::N(number),
        AttributeValue::Bool(flag) => dynoxide::AttributeValue::BOOL(flag),
        other => panic!("records have no {other:?}"),
    };
    (name, value)
}

/// The tables' names, everywhere in the tests' own stores.
pub fn tables() -> Tables {
    let name = |name: &str| name.to_owned();
    Tables {
        tokens: name("tokens"),
        directory: name("directory"),
        jobs: name("jobs"),
        denylist: name("denylist"),
        audit: name("audit"),
        accounts: name("accounts"),
    }
}

/// A queue that takes nothing, for functions that need one to start. The same goes for the cache: a test that needs
/// one names its own.
const NOWHERE: &str = "http://127.0.0.1:9/nowhere";

/// What a function's environment says of a store and of who asks it.
pub fn variables(endpoint: &str) -> HashMap<String, String> {
    let tables = tables();
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("TOKENS_TABLE", &tables.tokens),
        ("DIRECTORY_TABLE", &tables.directory),
        ("JOBS_TABLE", &tables.jobs),
        ("DENYLIST_TABLE", &tables.denylist),
        ("AUDIT_TABLE", &tables.audit),
        ("ACCOUNTS_TABLE", &tables.accounts),
        ("AUDIT_HEADS_BUCKET", "audit-heads"),
        ("REPORTS_BUCKET", "reports"),
        ("APP_SECRET_ID", "app-secret"),
        ("CACHE_ID", "cache"),
        ("MAIL_FROM", "no-reply@example.com"),
        ("REDIS_URL", "redis://127.0.0.1:9"),
        ("PLAN_QUEUE_URL", NOWHERE),
        ("PLAN_QUEUE_URL_HIGH", NOWHERE),
        ("PLAN_QUEUE_URL_IMMEDIATE", NOWHERE),
        ("NOTICE_QUEUE_URL", NOWHERE),
        ("ACCOUNT_QUEUE_URL", NOWHERE),
        ("SIEM_QUEUE_URL", NOWHERE),
        ("ALERT_QUEUE_URL", NOWHERE),
        ("EXPORT_DEAD_LETTERS_URL", NOWHERE),
        ("CHUNK_QUEUE_URL", NOWHERE),
        ("CHUNK_QUEUE_URL_HIGH", NOWHERE),
        ("CHUNK_QUEUE_URL_IMMEDIATE", NOWHERE),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

impl Store {
    /// Starts an empty one with all tables. It ends with the process.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let database = Database::memory().unwrap();
        let served = database.clone();
        // A thread of its own, so that a test that blocks does not block its store.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                dynoxide::server::serve_on(listener, served).await;
            });
        });
        let store = Self { endpoint, database };
        store.create_tables().await;
        store
    }

    /// The same store, by way of an address that something in front of it has.
    #[must_use]
    pub fn behind(&self, endpoint: String) -> Self {
        Self { endpoint, database: self.database.clone() }
    }

    /// The SDK, pointed at it.
    pub async fn aws(&self) -> SdkConfig {
        adapters::aws::local(&self.endpoint, "us-east-1", "test", "test").await
    }

    /// The ports in it.
    pub async fn dynamo(&self) -> Arc<Dynamo> {
        Arc::new(Dynamo::new(&self.aws().await, tables()))
    }

    /// Puts records into it past the network, many at once: for the largest companies.
    pub async fn import(&self, records: impl IntoIterator<Item = Record>) {
        let dynamo = self.dynamo().await;
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let batch: Vec<Record> = records.by_ref().take(20_000).collect();
            let mut tables: HashMap<String, Vec<dynoxide::Item>> = HashMap::new();
            for (table, item) in dynamo.items_of(&batch).unwrap() {
                tables.entry(table).or_default().push(item.into_iter().map(imported).collect());
            }
            for (table, items) in tables {
                self.database.import_items(&table, items, ImportOptions::default()).unwrap();
            }
        }
    }

    async fn create_tables(&self) {
        let client = Client::new(&self.aws().await);
        let by_client = keys_only("by-client", vec![key("client_shard", KeyType::Hash), key("owner", KeyType::Range)]);
        let jobs_by =
            |name: &str, hash: &str| keys_only(name, vec![key(hash, KeyType::Hash), key("created_at", KeyType::Range)]);
        let job_lists = [("open-jobs", "open"), ("jobs-by-time", "listed"), ("jobs-by-actor", "actor")];
        let (s, n) = (ScalarAttributeType::S, ScalarAttributeType::N);
        let extra = |name: &str| match name {
            "tokens" => (vec![by_client.clone()], vec![attribute("client_shard", s.clone())]),
            "jobs" => {
                let mut attributes = vec![attribute("created_at", n.clone())];
                attributes.extend(job_lists.map(|(_, hash)| attribute(hash, s.clone())));
                (job_lists.map(|(name, hash)| jobs_by(name, hash)).to_vec(), attributes)
            }
            "audit" => {
                let audit_by = |name: &str, hash: &str| {
                    let mut index = keys_only(name, vec![key(hash, KeyType::Hash), key("time", KeyType::Range)]);
                    index.projection = Some(Projection::builder().projection_type(ProjectionType::All).build());
                    index
                };
                let attributes = ["day", "job_id", "time"].map(|name| attribute(name, s.clone()));
                (vec![audit_by("audit-by-time", "day"), audit_by("audit-by-job", "job_id")], attributes.to_vec())
            }
            _ => (vec![], vec![]),
        };
        for (table, hash, range) in [
            ("tokens", "owner", "item"),
            ("directory", "pk", "sk"),
            ("jobs", "pk", "sk"),
            ("denylist", "pk", "sk"),
            ("audit", "pk", "sk"),
            ("accounts", "pk", "sk"),
        ] {
            let (indexes, mut attributes) = extra(table);
            attributes.extend([attribute(hash, s.clone()), attribute(range, s.clone())]);
            client
                .create_table()
                .table_name(table)
                .billing_mode(BillingMode::PayPerRequest)
                .key_schema(key(hash, KeyType::Hash))
                .key_schema(key(range, KeyType::Range))
                .set_attribute_definitions(Some(attributes))
                .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
                .send()
                .await
                .unwrap();
        }
    }
}
