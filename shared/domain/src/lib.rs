//! The rules of batch logout.
//!
//! Nothing in this crate knows AWS, HTTP or Redis: the outside world is the traits in [`ports`], and each rule of
//! the contract lives in exactly one module. Read [`job`], [`cutoff`] and [`decision`] first, then follow one job:
//! [`accept`] takes the request, [`plan`] makes it effective, [`settle`] brings the token tables in line,
//! [`close`] ends it and [`redrive`] finishes whatever died on the way.
//!
//! What a job covers is decided in [`selector`] and nowhere else. How to add another kind of job stands in
//! [`conditions`].

pub mod accept;
pub mod accounts;
pub mod audit;
pub mod cache_service;
pub mod cancel;
pub mod check;
pub mod clean_up;
pub mod close;
pub mod conditions;
pub mod cutoff;
pub mod decision;
pub mod deny;
pub mod directory;
pub mod effect;
pub mod emergency;
pub mod error;
pub mod estimate;
pub mod guard;
pub mod identity;
pub mod ids;
pub mod ingest;
pub mod inspect;
pub mod job;
pub mod json;
pub mod lists;
pub mod mail;
pub mod members;
pub mod messages;
pub mod notice;
pub mod notify;
pub mod permissions;
pub mod plan;
pub mod population;
pub mod ports;
pub mod rate;
pub mod records;
pub mod redrive;
pub mod report;
pub mod retire;
pub mod selector;
pub mod session;
pub mod settings;
pub mod settle;
pub mod siem;
pub mod sign_in;
pub mod sign_out;
pub mod source;
pub mod time;
pub mod token;
pub mod upstream;
pub mod vault;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
