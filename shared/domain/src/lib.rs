//! The rules of batch logout.
//!
//! Nothing in this crate knows AWS, HTTP or Redis: the outside world is the traits in [`ports`], and each rule of
//! the contract lives in exactly one module. Read [`job`], [`cutoff`] and [`decision`] first, then follow one job:
//! [`accept`] takes the request, [`plan`] makes it effective, [`settle`] brings the token tables in line,
//! [`close`] ends it and [`redrive`] finishes whatever died on the way.
//!
//! How to add another kind of job: give [`job::Conditions`] a variant, let the compiler lead you through the
//! matches, and extend the oracle in `tests/`.

pub mod accept;
pub mod check;
pub mod close;
pub mod cutoff;
pub mod decision;
pub mod directory;
pub mod error;
pub mod estimate;
pub mod guard;
pub mod ids;
pub mod ingest;
pub mod inspect;
pub mod job;
pub mod members;
pub mod messages;
pub mod permissions;
pub mod plan;
pub mod ports;
pub mod records;
pub mod redrive;
pub mod settings;
pub mod settle;
pub mod source;
pub mod time;
pub mod token;

#[cfg(feature = "testing")]
pub mod testing;
