//! All workers in one process, over the real stores, too.

use adapters::denylist::RedisDenylist;
use adapters::dynamodb::Dynamo;

pub use simulation::fleet::*;

/// A fleet over real stores.
pub type RealFleet = Fleet<Dynamo, RedisDenylist>;
