//! The operator's tool: it loads the demo company, imports records and accounts, gets tokens, signs accounts in, runs the
//! demo and verifies the audit trail.
//!
//! Everything here works on a running stack that `stack.json` describes (`cargo xtask up` writes one).

pub mod accounts;
pub mod audit;
pub mod company;
pub mod demo;
pub mod dlq;
pub mod failure;
pub mod import;
pub mod issuer;
pub mod load;
pub mod progress;
pub mod stack;
pub mod web;
