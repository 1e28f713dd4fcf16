//! DynamoDB behind the domain's store ports.
//!
//! | table | partition key | sort key | what |
//! |---|---|---|---|
//! | tokens | `owner`: `U#user` or `C#client` (service tokens) | `item`: `T#token`, `S#session` | all rows of one owner in one item collection |
//! | directory | `U#user`, `C#client` | `-` | a user, a client |
//! | directory | `GROUPS` | group id | all groups: a subtree is found by one consistent query |
//! | directory | `M#group` | user id | members, in byte order |
//! | directory | `ADMINS` | user id | the users who are admins, changed together with their rows |
//! | directory | `N#hash of a name` | `-` | that some user has, or had, this name |
//! | jobs | `J#job` | `-` | the job |
//! | jobs | `J#job` | `C#number` | a chunk's result |
//! | jobs | `J#job` | `K#number` | where the last worker at a part of a table left off |
//! | jobs | `J#alarm-…`, `J#alert-entry` | `K#00000000` | that an alarm was raised, that an alert was mailed |
//! | jobs | `J#job` | `N#0…15` | the tally, in shards so that chunks ending together do not wait for each other |
//! | jobs | `J#job` | `M#number` | the notices of a chunk, counted |
//! | jobs | `A#job#number` | `P#hash` | a part of the chunk's affected owners, see [`affected`]; spread over partitions |
//! | jobs | `A#job#number` | `U#user` | the notice to one of them |
//! | jobs | `L#job#number` | `P#hash` | what a cancelled job left to the chunk's owners, in parts |
//! | jobs | `P#job#spared`, `P#job#admins` | number | users frozen when the job was accepted, 500 to an item |
//! | jobs | `R#actor` | name of a limit | the slots an actor has taken |
//! | jobs | `I#actor` | hash of an `Idempotency-Key` | the job it made |
//! | jobs | `E#actor` | `-` | the actor's emergency key, hashed |
//! | accounts | see [`accounts`] | | accounts, their sign-ins and slots |
//! | audit | `C#chain` | number | an entry at its place; the index `audit-by-time` finds it by its day |
//! | denylist | `ALL` | `CUT#…`, `F#job` | global cutoffs, and the jobs whose frozen users are cut off |
//! | denylist | `U#…`, `C#…`, `UC#…`, `S#…` | `CUT#…` | cutoffs of one scope; appended, never replaced |
//! | denylist | `T#token` | `-` | a revoked token |
//! | denylist | `X#user` | job id | a user whom a job spares |
//! | denylist | `F#job` | first user of the chunk | at most 100 frozen users: the durable form of their cutoffs |
//! | denylist | `GENERATION` | `-` | what a complete cache carries |

mod accounts;
mod affected;
pub mod audit;
mod denylist;
mod directory;
mod item;
mod jobs;
mod keys;
pub mod lazy;
mod notices;
mod records;
mod tokens;

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use domain::audit::chain::Pen;
use domain::settings::Tables;
use domain::source::SystemIds;

pub use item::Item;

/// All stores that live in DynamoDB.
#[derive(Debug, Clone)]
pub struct Dynamo {
    client: Client,
    tables: Tables,
    /// This process's chain of audit entries.
    pen: Pen,
}

impl Dynamo {
    /// Builds the client once, before the first event.
    pub fn new(config: &SdkConfig, tables: Tables) -> Self {
        Self::with_client(Client::new(config), tables)
    }

    /// Takes a client that is set up already.
    pub fn with_client(client: Client, tables: Tables) -> Self {
        Self { client, tables, pen: Pen::new(Arc::new(SystemIds)) }
    }

    /// Opens the connection, so that the first request does not wait for TLS. Whether it succeeds does not matter yet.
    pub async fn warm_up(&self) {
        let key = item::key("GENERATION", "-");
        let _ = self.client.get_item().table_name(&self.tables.denylist).set_key(Some(key)).send().await;
    }
}

/// How long rows are kept after they expired, in seconds: long enough to answer what a job did.
const RETENTION_SECONDS: i64 = 30 * 24 * 3_600;
